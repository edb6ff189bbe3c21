//! Requests about the managers of environments: the key of this one, and those that are let in.

use std::io;

use super::serve::Desk;
use crate::managers;
use crate::protocol::{Answer, Request};

/// Answers one.
pub(super) async fn answer(desk: &Desk, request: Request) -> Answer {
    if desk.carrying.is_none() {
        return Answer::Refused { text: "this machine is no server behind SSH".to_owned() };
    }
    let (root, runtime) = (desk.tree.root().to_owned(), desk.runtime.clone());
    let done = tokio::task::spawn_blocking(move || -> io::Result<Answer> {
        match request {
            Request::Admit { app, environment, keys } => {
                managers::admit(&root, &runtime, (&app, &environment), &keys)?;
                Ok(Answer::Admitted)
            }
            _ => Ok(Answer::ManagerKey { key: managers::key(&root)? }),
        }
    });
    let refused = |text: String| Answer::Refused { text };
    match done.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => refused(format!("the keys of managers cannot be had: {error}")),
        Err(_) => refused("the agent is ending".to_owned()),
    }
}
