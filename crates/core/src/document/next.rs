//! The document that follows another one.

use jiff::Timestamp;

use super::Document;
use crate::model::{Generation, WriteId};
use crate::ports::Stored;

impl Document {
    /// Stamps it as the one that follows what a store has: the next generation, chained to it.
    /// Returns the generation that the write has to name.
    pub fn follow(
        &mut self,
        current: Option<&Stored>,
        write_id: WriteId,
        now: Timestamp,
    ) -> Option<Generation> {
        let expected = current.map(|stored| stored.document.generation);
        self.generation = expected.unwrap_or_default().next();
        self.parent = current.map(|stored| stored.digest);
        self.write_id = write_id;
        self.written = now;
        expected
    }
}
