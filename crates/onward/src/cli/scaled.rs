//! Counts that somebody asked for past the project file, as people read them.

use onward_core::document::{Document, Scale};
use onward_core::engine::count_of_file;
use onward_core::model::{Config, ProcessName};
use serde_json::{Value, json};

/// One count that wins over the file's.
#[derive(Debug, Clone, Copy)]
pub struct Override<'a> {
    /// The process.
    pub process: &'a ProcessName,
    /// What was asked for, by whom and when.
    pub scale: &'a Scale,
    /// What the file says; none when the process is not in it.
    pub file: Option<u32>,
}

/// The counts that win over those of the release that serves.
pub fn overrides(document: &Document) -> Vec<Override<'_>> {
    let serving = document.serving.and_then(|number| document.release(number));
    serving.map_or_else(Vec::new, |release| overrides_of(document, &release.config))
}

/// The counts that win over those of a configuration.
pub fn overrides_of<'a>(document: &'a Document, config: &Config) -> Vec<Override<'a>> {
    let with_file = |(process, scale): (&'a ProcessName, &'a Scale)| {
        let file = count_of_file(document, config, process);
        (file != Some(scale.count)).then_some(Override { process, scale, file })
    };
    document.demand.scale.iter().filter_map(with_file).collect()
}

impl Override<'_> {
    /// `web=8 instead of 2`.
    pub fn text(&self) -> String {
        let (process, count) = (self.process, self.scale.count);
        match self.file {
            Some(file) => format!("{process}={count} instead of {file}"),
            None => format!("{process}={count}, which the file does not have"),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "what": "scale",
            "process": self.process,
            "count": self.scale.count,
            "file": self.file,
            "by": self.scale.by,
            "at": self.scale.at,
            "text": self.text(),
        })
    }
}
