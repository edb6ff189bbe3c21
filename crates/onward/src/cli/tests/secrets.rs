//! What is wrong with secrets and with keys.

use onward_core::secrets::{InvalidSecretName, PublicKey, SecretName, TooMuch};
use onward_secret::OpenError;

use super::{every, page};
use crate::cli::key_problem::KeyProblem;
use crate::cli::secret_problem::SecretProblem;

fn name() -> SecretName {
    "SESSION_KEY".parse().expect("a legal name")
}

fn key() -> PublicKey {
    format!("age1{}", "q".repeat(58)).parse().expect("a key in shape")
}

fn denied() -> std::io::Error {
    std::io::Error::from_raw_os_error(13)
}

#[test]
fn each_problem_with_secrets_says_what_to_type() {
    let all = every! { SecretProblem:
        SecretProblem::ValueInArgument(_) => SecretProblem::ValueInArgument(Some(name())),
        SecretProblem::NotAName { .. } =>
            SecretProblem::NotAName { at: 2, why: InvalidSecretName::Shape },
        SecretProblem::UnnamedAmongSeveral { .. } => SecretProblem::UnnamedAmongSeveral { at: 2 },
        SecretProblem::NoName => SecretProblem::NoName,
        SecretProblem::OneValueForSeveral => SecretProblem::OneValueForSeveral,
        SecretProblem::NobodyToAsk(_) => SecretProblem::NobodyToAsk(name()),
        SecretProblem::NotGiven => SecretProblem::NotGiven,
        SecretProblem::Empty(_) => SecretProblem::Empty(name()),
        SecretProblem::Nul(_) => SecretProblem::Nul(name()),
        SecretProblem::TooLong(_) => SecretProblem::TooLong(name()),
        SecretProblem::TooMuch(_) => SecretProblem::TooMuch(TooMuch::Bytes),
        SecretProblem::EnvFile { .. } => SecretProblem::EnvFile {
            path: ".env".into(), line: 3, column: 7, what: "`=` is missing".to_owned(),
        },
        SecretProblem::NotInEnvFile { .. } =>
            SecretProblem::NotInEnvFile { path: ".env".into(), names: "SESSION_KEY".to_owned() },
        SecretProblem::File { .. } =>
            SecretProblem::File { path: "key.pem".into(), source: denied() },
        SecretProblem::Unknown { .. } =>
            SecretProblem::Unknown { name: name(), environment: "qa".to_owned() },
        SecretProblem::GetAsJson => SecretProblem::GetAsJson,
        SecretProblem::Damaged { .. } =>
            SecretProblem::Damaged { name: name(), why: OpenError::Damaged },
        SecretProblem::Busy => SecretProblem::Busy,
        SecretProblem::Key(_) => SecretProblem::Key(KeyProblem::NoHome),
    };
    insta::assert_snapshot!(page(all));
}

#[test]
fn each_problem_with_keys_says_what_to_type() {
    let all = every! { KeyProblem:
        KeyProblem::NoKey(_) => KeyProblem::NoKey("qa".to_owned()),
        KeyProblem::NoAccess { .. } => KeyProblem::NoAccess {
            environment: "qa".to_owned(), key: key(), operators: "ana or ben".to_owned(),
        },
        KeyProblem::ServerNeedsKey { .. } => KeyProblem::ServerNeedsKey {
            server: "local".to_owned(), environment: "qa".to_owned(), operators: "ana".to_owned(),
        },
        KeyProblem::VariableIsNoKey => KeyProblem::VariableIsNoKey,
        KeyProblem::NoHome => KeyProblem::NoHome,
        KeyProblem::KeyFile { .. } =>
            KeyProblem::KeyFile { path: "/home/ana/.config/onward/key".into(), source: denied() },
        KeyProblem::OpenKeyFile { .. } => KeyProblem::OpenKeyFile {
            path: "/home/ana/.config/onward/key".into(), mode: 0o644, foreign: false,
        },
        KeyProblem::NoKeyInFile(_) =>
            KeyProblem::NoKeyInFile("/home/ana/.config/onward/key".into()),
        KeyProblem::NotAPublicKey => KeyProblem::NotAPublicKey,
        KeyProblem::PrivateKey => KeyProblem::PrivateKey,
        KeyProblem::NoSuchOperator(_) => KeyProblem::NoSuchOperator("qa".to_owned()),
        KeyProblem::AmbiguousOperator => KeyProblem::AmbiguousOperator,
        KeyProblem::LastOperator(_) => KeyProblem::LastOperator("qa".to_owned()),
        KeyProblem::TooManyOperators => KeyProblem::TooManyOperators,
    };
    insta::assert_snapshot!(page(all));
}
