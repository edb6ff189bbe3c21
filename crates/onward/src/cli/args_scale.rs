//! What `onward scale` takes.

use std::str::FromStr;

use clap::Args;
use onward_core::model::ProcessName;

/// `onward scale`
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// A process and how many instances of it run in all, such as `web=4`
    #[arg(value_name = "PROCESS=COUNT", required = true)]
    pub counts: Vec<Count>,
}

/// How many instances of a process shall run in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The process.
    pub process: ProcessName,
    /// Their number.
    pub count: u32,
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, number)) = text.split_once('=') else {
            return Err("write the process and its count, such as `web=4`".to_owned());
        };
        let process = name.parse().map_err(|error| format!("{error}"))?;
        let count = number.parse().map_err(|_| format!("`{number}` is no number of instances"))?;
        Ok(Self { process, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_process_and_a_number() {
        let read = |text: &str| text.parse::<Count>();
        assert_eq!(read("web=4"), Ok(Count { process: "web".parse().unwrap(), count: 4 }));
        for wrong in ["web", "web=", "web=four", "web=-1", "=4", "web = 4", "web=99999999999"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
