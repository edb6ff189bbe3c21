//! Renewing certificates from a command.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::document::Document;
use onward_core::https::Asker;
use onward_core::secrets::Secrets;
use onward_secret::Identity;
use onward_store::state::Documents;

use super::carry;
use super::complaint::Complaint;
use super::context::Context;
use super::fleet;
use super::interrupt::Interrupts;
use super::screen::Screen;
use super::secret_problem::SecretProblem;
use super::secrets;
use crate::certificates::acme::Problem;
use crate::certificates::renewal::{self, Renewed};
use crate::certificates::seat::{Seat, Unkept};
use crate::runner::{Links, Write};

/// Asks for everything that is due: for these names, or all that the release answers to.
///
/// # Errors
/// When the state cannot be read or changed, or nobody here can open its key. What the authority
/// refuses is in the result, in the state, and told.
pub fn renew(
    context: &Context,
    only: Option<&BTreeSet<String>>,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Renewed, Complaint> {
    renewal::renew(&Command { context, screen, interrupts }, only)
}

/// A command that a person runs.
struct Command<'a> {
    context: &'a Context,
    screen: &'a Screen,
    interrupts: &'a Interrupts,
}

impl Seat for Command<'_> {
    type Error = Complaint;

    fn asker(&self) -> Asker {
        Asker::Person
    }

    fn by(&self) -> String {
        carry::person()
    }

    fn store(&self) -> Documents {
        self.context.store()
    }

    fn edit<T>(
        &self,
        edit: impl FnMut(&mut Document) -> Result<(T, Write), Complaint>,
    ) -> Result<(T, Option<Document>), Complaint> {
        secrets::change(self.context, edit)
    }

    fn secrets<'d>(&self, document: &'d mut Document) -> Result<&'d mut Secrets, Complaint> {
        secrets::of_document(document, &mut None)
    }

    fn identity(&self, document: &mut Document) -> Result<Result<Identity, Problem>, Complaint> {
        let known = self.secrets(document)?;
        Ok(Ok(secrets::opened(self.context, known)?))
    }

    fn carry_on(&self) -> Result<(), Complaint> {
        carry::carry_on(self.context, self.screen, self.interrupts)
    }

    fn links(&self, document: &Document) -> Result<Links, Problem> {
        let links = fleet::links(self.context, Some(document), &BTreeMap::new());
        links.map_err(|complaint| Problem(complaint.what))
    }

    fn kept(&self, document: &Document) {
        secrets::bring_key_of(self.context, document);
    }

    fn is_over(&self) -> bool {
        self.interrupts.count() > 0
    }

    fn note(&self, text: &str) {
        self.screen.note(text);
    }

    fn warn(&self, text: &str) {
        self.screen.warn(text);
    }
}

impl From<Unkept> for Complaint {
    fn from(unkept: Unkept) -> Self {
        match unkept {
            Unkept::TooMuch(error) => SecretProblem::from(error).into(),
            Unkept::Seal(error) => secrets::bug(error),
        }
    }
}
