//! From where certificates are renewed: a command that a person runs, or the manager by itself.

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::https::Asker;
use onward_core::ports::StoreError;
use onward_core::secrets::{Sealed, SecretName, SecretVersion, Secrets, TooMuch, Value};
use onward_secret::{Identity, SealError, Secret, seal_value};
use onward_store::state::Documents;

use super::acme::Problem;
use crate::runner::{Links, Write};

/// What [`super::renewal::renew`] needs of where it runs.
pub trait Seat {
    /// Why it cannot go on.
    type Error: From<StoreError> + From<Unkept>;

    /// Whether a person asks, or something that comes again.
    fn asker(&self) -> Asker;
    /// Who that is, for the record.
    fn by(&self) -> String;
    /// The documents.
    fn store(&self) -> Documents;
    /// Changes the document as [`crate::runner::edit`] does.
    ///
    /// # Errors
    /// Those of `edit`, and when it cannot be written.
    fn edit<T>(
        &self,
        edit: impl FnMut(&mut Document) -> Result<(T, Write), Self::Error>,
    ) -> Result<(T, Option<Document>), Self::Error>;
    /// The same for a change that has nothing to tell. The document that was written, if one was.
    ///
    /// # Errors
    /// Those of [`Self::edit`].
    fn change(
        &self,
        mut change: impl FnMut(&mut Document) -> Result<Write, Self::Error>,
    ) -> Result<Option<Document>, Self::Error> {
        let edited = self.edit(|document| change(document).map(|write| ((), write)));
        edited.map(|((), written)| written)
    }
    /// The secrets of a document, made when there are none.
    ///
    /// # Errors
    /// When they cannot be made here.
    fn secrets<'d>(&self, document: &'d mut Document) -> Result<&'d mut Secrets, Self::Error>;
    /// The key of the environment; a problem, when it cannot be had here now and may be later.
    ///
    /// # Errors
    /// When nobody here can open it.
    fn identity(&self, document: &mut Document) -> Result<Result<Identity, Problem>, Self::Error>;
    /// Brings every server what follows from the document.
    ///
    /// # Errors
    /// When the document cannot be read or written.
    fn carry_on(&self) -> Result<(), Self::Error>;
    /// The ways to the servers.
    ///
    /// # Errors
    /// When there are none.
    fn links(&self, document: &Document) -> Result<Links, Problem>;
    /// A key was kept, and servers may not have the key of the environment yet.
    fn kept(&self, document: &Document);
    /// Whether it shall end.
    fn is_over(&self) -> bool;
    /// Tells what happens.
    fn note(&self, text: &str);
    /// Tells what is not as it should be.
    fn warn(&self, text: &str);
}

/// Why something of onward's own cannot be kept among the secrets.
#[derive(Debug, thiserror::Error)]
pub enum Unkept {
    /// There is too much already.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Keeps something of onward's own among the secrets, sealed.
///
/// # Errors
/// [`Unkept`]; nothing is changed then.
pub fn keep(
    known: &mut Secrets,
    name: &SecretName,
    plain: &[u8],
    by: &str,
) -> Result<SecretVersion, Unkept> {
    let version = known.last_version.next();
    let sealed = seal_value(&known.key.public, name, version, &Secret::new(plain.to_vec()))?;
    let (sealed, by, set) = (Sealed::new(sealed), by.to_owned(), Timestamp::now());
    Ok(known.keep(Value { name: name.clone(), sealed, by, set })?)
}
