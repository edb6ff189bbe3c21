//! What happened, and what it adds up to.

use crate::clock::Seconds;

/// How many releases are remembered. Older ones are dropped, their visits stay counted.
const RELEASES_MAX: usize = 200;

/// The longest label that is kept, in characters.
const LABEL_CHARS_MAX: usize = 100;

/// What was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number.
    pub number: u64,
    /// Its label; one line.
    pub label: String,
}

impl Release {
    /// A release; control characters of the label become spaces.
    pub fn new(number: u64, label: &str) -> Self {
        let label = label.chars().take(LABEL_CHARS_MAX);
        let label = label.map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        Self { number, label: label.trim().to_owned() }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An instance of a release started.
    Started {
        /// Which one.
        release: Release,
        /// When.
        at: Seconds,
    },
    /// Somebody looked at the page.
    Visited {
        /// The number of the release that answered.
        release: u64,
    },
}

impl Event {
    /// One line of text, without its end.
    pub fn to_line(&self) -> String {
        match self {
            Self::Started { release, at } => {
                format!("started {} {} {}", release.number, at.0, release.label)
            }
            Self::Visited { release } => format!("visited {release}"),
        }
    }

    /// The event of such a line.
    pub fn from_line(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("started", rest) => {
                let mut words = rest.splitn(3, ' ');
                let number = words.next()?.parse().ok()?;
                let at = Seconds(words.next()?.parse().ok()?);
                Some(Self::Started { release: Release::new(number, words.next()?), at })
            }
            ("visited", number) => Some(Self::Visited { release: number.parse().ok()? }),
            _ => None,
        }
    }
}

/// A release in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// What was deployed.
    pub release: Release,
    /// When its first instance started.
    pub first_started: Seconds,
}

/// The sum of all events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Visits over all releases.
    pub visits: u64,
    /// Releases in the order of their first start.
    pub deploys: Vec<Deploy>,
}

impl History {
    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Visited { .. } => self.visits += 1,
            Event::Started { release, at } => {
                if self.deploys.iter().all(|deploy| deploy.release != *release) {
                    self.deploys.push(Deploy { release: release.clone(), first_started: *at });
                }
                let excess = self.deploys.len().saturating_sub(RELEASES_MAX);
                self.deploys.drain(..excess);
            }
        }
    }

    /// The history as lines of text, for a snapshot.
    pub fn to_text(&self) -> String {
        let mut text = format!("visits {}\n", self.visits);
        for Deploy { release, first_started } in &self.deploys {
            let event = Event::Started { release: release.clone(), at: *first_started };
            text.push_str(&event.to_line());
            text.push('\n');
        }
        text
    }

    /// The history of such a text.
    pub fn from_text(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('\n')?;
        let visits = first.strip_prefix("visits ")?.parse().ok()?;
        let mut history = Self { visits, deploys: Vec::new() };
        for line in rest.lines() {
            history.add(&Event::from_line(line)?);
        }
        Some(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(number: u64, label: &str, at: u64) -> Event {
        Event::Started { release: Release::new(number, label), at: Seconds(at) }
    }

    #[test]
    fn a_release_is_listed_once_with_its_first_start() {
        let mut history = History::default();
        for event in [started(1, "a", 10), started(2, "b", 20), started(1, "a", 30)] {
            history.add(&event);
        }
        let listed: Vec<_> =
            history.deploys.iter().map(|d| (d.release.number, d.first_started.0)).collect();
        assert_eq!(listed, [(1, 10), (2, 20)]);
    }

    #[test]
    fn old_releases_are_dropped_and_visits_are_not() {
        let mut history = History::default();
        for number in 0..1_000 {
            history.add(&started(number, "x", number));
            history.add(&Event::Visited { release: number });
        }
        assert_eq!((history.deploys.len(), history.visits), (RELEASES_MAX, 1_000));
        assert_eq!(history.deploys[0].release.number, 800);
    }

    #[test]
    fn lines_and_texts_read_back() {
        for event in [
            started(3, "1.4.2 of Monday", 5),
            started(4, "two\nlines", 6),
            started(5, "", 7),
            Event::Visited { release: 3 },
        ] {
            assert_eq!(Event::from_line(&event.to_line()), Some(event));
        }
        let mut history = History { visits: 7, ..History::default() };
        history.add(&started(1, "a b", 10));
        assert_eq!(History::from_text(&history.to_text()), Some(history));
        for text in ["", "x", "visits\n", "visits 1\nnonsense\n"] {
            assert_eq!(History::from_text(text), None, "{text}");
        }
    }
}
