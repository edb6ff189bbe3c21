//! Asking an agent how its server is.

use onward_core::model::{AppName, EnvironmentName};
use onward_proxy::Status;
use serde_json::Value;

use crate::client::{ANSWERS_WITHIN, Client, ClientError, nonsense};
use crate::looking::{AccessRequest, Checkup};
use crate::protocol::{Answer, Request};

impl Client {
    /// The requests that the proxy answered, one JSON object each, as its access log has them.
    /// While it follows, this returns when `each` says no.
    ///
    /// # Errors
    /// Those of every request.
    pub fn access(
        &mut self,
        request: AccessRequest,
        mut each: impl FnMut(Value) -> bool,
    ) -> Result<(), ClientError> {
        let quiet = if request.follow { None } else { Some(ANSWERS_WITHIN) };
        self.stream().set_read_timeout(quiet)?;
        self.send(&Request::Access(request))?;
        loop {
            match self.receive()? {
                Answer::Access { line } => {
                    if !each(line) {
                        // The connection cannot be used for anything else.
                        self.stream().shutdown(std::net::Shutdown::Both)?;
                        return Ok(());
                    }
                }
                Answer::End => break,
                other => return Err(nonsense(&other)),
            }
        }
        Ok(self.stream().set_read_timeout(Some(ANSWERS_WITHIN))?)
    }

    /// How the proxy is, and what it counted.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it does not answer the agent.
    pub fn proxy(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Proxy, 0)? {
            Answer::Proxy { status } => Ok(*status),
            other => Err(nonsense(&other)),
        }
    }

    /// How the server is besides what it reports.
    ///
    /// # Errors
    /// Those of every request.
    pub fn checkup(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Checkup, ClientError> {
        let request = Request::Checkup { app: app.clone(), environment: environment.clone() };
        match self.ask(&request, 0)? {
            Answer::Checkup(checkup) => Ok(*checkup),
            other => Err(nonsense(&other)),
        }
    }
}
