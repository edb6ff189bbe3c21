//! Asking an authority for certificates (ACME, RFC 8555), by showing over HTTP that a name leads here.
//!
//! Nothing here knows where challenges are answered: whoever asks puts the answer in place between
//! [`Session::begin`] and [`Session::finish`]. All of this blocks.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use onward_core::https::Authority;
use onward_proxy::PrivateKey;
use onward_secret::Secret;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::runner;

/// How long one step with an authority may take: it answers in seconds, and looks in seconds.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether whoever waits wants to.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Says whether nobody waits for the answer any more.
pub type IsOver<'a> = &'a dyn Fn() -> bool;

/// Why there is no certificate. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Api(problem) => {
                let text = problem.detail.clone().unwrap_or_else(|| problem.to_string());
                format!("the authority refused: {text}")
            }
            Error::Timeout(_) => "the authority did not decide in time".to_owned(),
            other => format!("the authority cannot be asked: {}", causes(&other)),
        })
    }
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(own) = cause {
        let more = own.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = own.source();
    }
    text
}

/// An account at an authority, over one connection.
pub struct Session {
    runtime: Runtime,
    account: Account,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// Its key, made here: the authority never sees it.
    pub key: PrivateKey,
}

/// A certificate that was asked for.
pub struct Pending {
    order: Order,
    /// The token and its answer, which every server has to give before [`Session::finish`]; none when
    /// the authority remembers that the name leads here.
    pub challenge: Option<(String, String)>,
}

impl Session {
    /// Opens the account with these credentials; without any, makes one and returns its credentials
    /// too.
    ///
    /// # Errors
    /// When the authority cannot be reached, or refuses.
    pub fn open(
        authority: &Authority,
        credentials: Option<&Secret>,
        is_over: IsOver<'_>,
    ) -> Result<(Self, Option<Secret>), Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Problem(error.to_string()))?;
        let builder = match &authority.ca {
            None => Account::builder()?,
            Some(ca) => builder_with(ca)?,
        };
        if let Some(credentials) = credentials {
            let credentials: AccountCredentials = serde_json::from_slice(credentials.expose())
                .map_err(|_| Problem("the account's credentials are damaged".to_owned()))?;
            let opened = in_time(&runtime, is_over, builder.from_credentials(credentials))?;
            return Ok((Self { runtime, account: opened }, None));
        }
        let contact = authority.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = authority.directory.clone();
        let (account, made) = in_time(&runtime, is_over, builder.create(&new, directory, None))?;
        let made = serde_json::to_vec(&made).map_err(|error| Problem(error.to_string()))?;
        Ok((Self { runtime, account }, Some(Secret::new(made))))
    }

    /// Asks for a certificate for one name.
    ///
    /// # Errors
    /// When the authority cannot be reached, refuses, or offers no way over HTTP.
    pub fn begin(&self, name: &str, is_over: IsOver<'_>) -> Result<Pending, Problem> {
        let asked = async {
            let names = [Identifier::Dns(name.to_owned())];
            let mut order = self.account.new_order(&NewOrder::new(&names)).await?;
            let mut challenge = None;
            let mut all = order.authorizations();
            while let Some(authorization) = all.next().await {
                let mut authorization = authorization?;
                if authorization.status == AuthorizationStatus::Valid {
                    continue;
                }
                let offered = authorization.challenge(ChallengeType::Http01);
                let offered = offered.ok_or(Error::Str("it offers no check over HTTP"))?;
                let answer = offered.key_authorization().as_str().to_owned();
                challenge = Some((offered.token.clone(), answer));
            }
            Ok(Pending { order, challenge })
        };
        in_time(&self.runtime, is_over, asked)
    }

    /// Lets the authority look, and takes the certificate.
    ///
    /// # Errors
    /// As [`Session::begin`], and what the authority found instead of the answer.
    pub fn finish(&self, pending: Pending, is_over: IsOver<'_>) -> Result<Issued, Problem> {
        let Pending { mut order, challenge } = pending;
        let finished = async {
            if challenge.is_some() {
                let mut all = order.authorizations();
                while let Some(authorization) = all.next().await {
                    let mut authorization = authorization?;
                    if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) {
                        challenge.set_ready().await?;
                    }
                }
            }
            if order.poll_ready(&RetryPolicy::default()).await? == OrderStatus::Invalid {
                return Ok(Err(found_instead(&mut order).await));
            }
            let key = order.finalize().await?;
            let chain = order.poll_certificate(&RetryPolicy::default()).await?;
            Ok(Ok(Issued { chain, key: PrivateKey::new(Zeroizing::new(key)) }))
        };
        in_time(&self.runtime, is_over, finished)?
    }
}

/// What the authority says that it found.
async fn found_instead(order: &mut Order) -> Problem {
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let errors = authorization.challenges.iter().filter_map(|own| own.error.as_ref());
        if let Some(detail) = errors.filter_map(|own| own.detail.clone()).next() {
            return Problem(format!("the authority did not find the answer: {detail}"));
        }
    }
    Problem("the authority did not find the answer".to_owned())
}

fn in_time<T>(
    runtime: &Runtime,
    is_over: IsOver<'_>,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Problem> {
    let nobody_waits = async {
        while !is_over() {
            sleep(LOOK_EVERY).await;
        }
    };
    let answered = async {
        tokio::select! {
            answered = timeout(STEP_WITHIN, what) => Some(answered),
            () = nobody_waits => None,
        }
    };
    match runtime.block_on(answered) {
        Some(Ok(result)) => Ok(result?),
        Some(Err(_)) => Err(Problem("the authority does not answer".to_owned())),
        None => Err(Problem("interrupted".to_owned())),
    }
}

/// The library takes the certificate that an authority is believed by from a file.
fn builder_with(ca: &str) -> Result<instant_acme::AccountBuilder, Problem> {
    let path = std::env::temp_dir().join(format!("onward-ca-{}.pem", runner::fresh()));
    let failed = |error: std::io::Error| Problem(format!("{}: {error}", path.display()));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(ca.as_bytes())).map_err(failed);
    let builder = written.map(|()| Account::builder_with_root(&path));
    let _ = std::fs::remove_file(&path);
    Ok(builder??)
}
