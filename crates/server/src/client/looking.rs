//! Asking an agent how its server is, and what was printed and asked there.

use onward_core::model::{AppName, EnvironmentName};
use onward_proxy::Status;
use serde_json::Value;

use super::{ANSWERS_WITHIN, Client, ClientError, nonsense};
use crate::looking::{AccessRequest, Checkup};
use crate::protocol::{Answer, LogLine, LogsRequest, Request};

impl Client {
    /// The lines that processes printed. While it follows, this returns when `each` says no.
    ///
    /// # Errors
    /// Those of every request.
    pub fn logs(
        &mut self,
        request: LogsRequest,
        each: impl FnMut(LogLine) -> bool,
    ) -> Result<(), ClientError> {
        let follow = request.follow;
        let line_of = |answer| match answer {
            Answer::Line(line) => Ok(line),
            other => Err(other),
        };
        self.lines(&Request::Logs(request), follow, line_of, each)
    }

    /// The requests that the proxy answered, one JSON object each, as its access log has them.
    /// While it follows, this returns when `each` says no.
    ///
    /// # Errors
    /// Those of every request.
    pub fn access(
        &mut self,
        request: AccessRequest,
        each: impl FnMut(Value) -> bool,
    ) -> Result<(), ClientError> {
        let follow = request.follow;
        let line_of = |answer| match answer {
            Answer::Access { line } => Ok(line),
            other => Err(other),
        };
        self.lines(&Request::Access(request), follow, line_of, each)
    }

    fn lines<T>(
        &mut self,
        request: &Request,
        follow: bool,
        line_of: impl Fn(Answer) -> Result<T, Answer>,
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let quiet = if follow { None } else { Some(ANSWERS_WITHIN) };
        self.stream().set_read_timeout(quiet)?;
        self.send(request)?;
        loop {
            match line_of(self.receive()?) {
                Ok(line) => {
                    if !each(line) {
                        // The connection cannot be used for anything else.
                        self.stream().shutdown(std::net::Shutdown::Both)?;
                        return Ok(());
                    }
                }
                Err(Answer::End) => break,
                Err(other) => return Err(nonsense(&other)),
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
