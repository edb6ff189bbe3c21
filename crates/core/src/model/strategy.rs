//! In which steps the servers of an environment take a release.

use serde::{Deserialize, Serialize};

/// In which steps the servers take a release. Each step is a decision of its own, made when the
/// step before it was watched and held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All at once.
    #[default]
    All,
    /// So many at a time.
    Batches(Part),
    /// So many first, then all others.
    Canary(Part),
}

/// A part of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// So many servers.
    Servers(u32),
    /// So much of them, in percent.
    Percent(u32),
}

impl Part {
    /// How many of `all` servers it is: rounded up, at least one, at most all.
    pub fn of(self, all: usize) -> usize {
        let wanted = match self {
            Self::Servers(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => all.saturating_mul(percent as usize).div_ceil(100),
        };
        wanted.max(1).min(all)
    }
}

impl Strategy {
    /// Whether all servers take a release at once.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// How many of `all` servers take the next step, when `taken` have taken theirs.
    pub fn next(self, all: usize, taken: usize) -> usize {
        let left = all.saturating_sub(taken);
        match self {
            Self::All => left,
            Self::Batches(part) => part.of(all).min(left),
            Self::Canary(part) if taken == 0 => part.of(all),
            Self::Canary(_) => left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(strategy: Strategy, all: usize) -> Vec<usize> {
        let mut steps = Vec::new();
        while steps.iter().sum::<usize>() < all {
            steps.push(strategy.next(all, steps.iter().sum()));
        }
        steps
    }

    #[test]
    fn steps_take_everybody_once() {
        assert_eq!(steps(Strategy::All, 3), [3]);
        assert_eq!(steps(Strategy::Batches(Part::Servers(2)), 5), [2, 2, 1]);
        assert_eq!(steps(Strategy::Batches(Part::Percent(25)), 6), [2, 2, 2]);
        assert_eq!(steps(Strategy::Batches(Part::Percent(1)), 3), [1, 1, 1]);
        assert_eq!(steps(Strategy::Canary(Part::Servers(1)), 4), [1, 3]);
        assert_eq!(steps(Strategy::Canary(Part::Percent(100)), 4), [4]);
        assert_eq!(steps(Strategy::Canary(Part::Servers(9)), 1), [1]);
    }
}
