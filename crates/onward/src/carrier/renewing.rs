//! The manager renews certificates by itself.

use onward_core::document::Document;
use onward_core::https::Asker;
use onward_core::ports::StateStore;
use onward_core::runner::{End, Goal, Runner};
use onward_core::secrets::Secrets;
use onward_secret::Identity;
use onward_store::state::Documents;

use super::calls::Calls;
use super::ways::{Ways, open_key};
use super::{NotCarried, Post, Watch};
use crate::certificates::acme::Problem;
use crate::certificates::renewal;
use crate::certificates::seat::Seat;
use crate::runner::{self, Links, Write};

/// Asks for what is due, if anything is. What the authority refuses is kept in the document, which
/// says when it may be asked again.
pub(super) fn renew(post: &Post, store: &Documents, calls: &Calls) -> Result<(), NotCarried> {
    let manager = Manager { post, store, calls };
    for (name, why) in renewal::renew(&manager, None)?.failed {
        manager.warn(&format!("{name} has no new certificate: {why}"));
    }
    Ok(())
}

/// The manager of an environment.
struct Manager<'a> {
    post: &'a Post,
    store: &'a Documents,
    calls: &'a Calls,
}

impl Seat for Manager<'_> {
    type Error = NotCarried;

    fn asker(&self) -> Asker {
        Asker::Timer
    }

    fn by(&self) -> String {
        "the manager".to_owned()
    }

    fn store(&self) -> Documents {
        self.store.clone()
    }

    fn edit<T>(
        &self,
        edit: impl FnMut(&mut Document) -> Result<(T, Write), NotCarried>,
    ) -> Result<(T, Option<Document>), NotCarried> {
        runner::edit(self.store, || Err(NotCarried::Gone), edit)
    }

    fn secrets<'d>(&self, document: &'d mut Document) -> Result<&'d mut Secrets, NotCarried> {
        document.secrets.as_mut().ok_or(NotCarried::NoKey)
    }

    fn identity(&self, document: &mut Document) -> Result<Result<Identity, Problem>, NotCarried> {
        let key = document.secrets.as_ref().map(|secrets| &secrets.key.public);
        let opened = key.and_then(|key| open_key(self.post)(key));
        // A person has it, and brings it.
        Ok(opened.ok_or_else(|| {
            Problem("the manager does not have the environment's key; `onward up` brings it".into())
        }))
    }

    fn carry_on(&self) -> Result<(), NotCarried> {
        let Some(stored) = self.store.read()? else { return Ok(()) };
        let ways = Ways::of(self.post, &stored.document)?;
        let (app, environment) = (self.post.app.clone(), self.post.environment.clone());
        let mut run = Runner::new(app, environment, Goal::Carry);
        let links = ways.links(self.post);
        let mut watch = Watch { post: self.post, ways: &ways, calls: self.calls, told: None };
        match runner::drive(&mut run, self.store, &links, &mut watch) {
            Some(End::Store(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn links(&self, document: &Document) -> Result<Links, Problem> {
        let ways = Ways::of(self.post, document).map_err(|error| Problem(error.to_string()))?;
        Ok(ways.links(self.post))
    }

    /// Servers get the key of the environment with their orders.
    fn kept(&self, _: &Document) {}

    fn is_over(&self) -> bool {
        self.calls.are_over()
    }

    fn note(&self, text: &str) {
        self.post.tell(text.trim_start());
    }

    fn warn(&self, text: &str) {
        self.post.tell(text);
    }
}
