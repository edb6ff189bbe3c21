//! What keeps a state where it is: stores that cannot be, moves that are refused.

use onward_core::model::Generation;
use onward_core::ports::StoreError;
use onward_store::state::TransferRefused;

use super::complaint::Complaint;
use super::exit::Exit;

/// What a person hears about the place of the state.
#[derive(Debug, thiserror::Error)]
pub enum PlaceProblem {
    /// A store that cannot be one.
    #[error("this is no store: {what}")]
    NoStore {
        /// What is wrong. It does not repeat what was typed.
        what: String,
        /// What to type.
        help: String,
    },
    /// The state cannot be moved.
    #[error("the state was not moved: {0}")]
    NotMoved(Box<TransferRefused>),
    /// An interrupted move that another project began.
    #[error("the state is being moved here from {0}, which is not of this project")]
    MoveOfAnother(String),
    /// The project file names one store, and another place has a state of its own.
    #[error(
        "there are two states of this environment: the project file names {url}, and {here} has one of its own"
    )]
    TwoStates {
        /// What the file names.
        url: String,
        /// The other place.
        here: String,
        /// Its last generation.
        generation: Generation,
    },
}

impl PlaceProblem {
    /// How the command ends.
    const fn exit(&self) -> Exit {
        match self {
            Self::NoStore { .. } => Exit::Usage,
            Self::NotMoved(refused) => move_exit(refused),
            Self::MoveOfAnother(_) | Self::TwoStates { .. } => Exit::Refused,
        }
    }

    /// What to type next.
    fn hint(&self) -> String {
        match self {
            Self::NoStore { help, .. } => help.clone(),
            Self::NotMoved(refused) => move_hint(refused).to_owned(),
            Self::MoveOfAnother(_) => {
                "repeat the `onward state move` there, on the machine where it was begun".to_owned()
            }
            Self::TwoStates { url, here, .. } => format!(
                "`onward state move '{url}'` takes the state there when that store is empty; \
                 otherwise move {here} away, or remove the line `store`"
            ),
        }
    }
}

/// What to type when the state was not moved.
const fn move_hint(refused: &TransferRefused) -> &'static str {
    match refused {
        TransferRefused::Store(StoreError::Damaged { .. }) => {
            "`onward state diff` shows what is wrong with it; settle that first"
        }
        TransferRefused::Store(_) | TransferRefused::Unknown(_) | TransferRefused::Changing => {
            "the same command goes on where it stopped; until it has ended, nothing is lost and \
             there is no second state"
        }
        TransferRefused::Nothing(_) => "`onward up` makes a state where the project file says",
        TransferRefused::InFlight(_) => {
            "`onward up` carries it to its end, `onward abort` stops it when it is not decided; \
             then repeat the command"
        }
        TransferRefused::Foreign { .. } => "give another prefix; what is there is left as it is",
        TransferRefused::MovedElsewhere { .. } => {
            "write that store into the project file; from there it can be moved on"
        }
        TransferRefused::Broken { .. } => {
            "somebody changed or removed it; put that generation back from a copy"
        }
        TransferRefused::Gone { .. } => {
            "put the objects back, for example by the versions of the bucket; the old place has \
             its own history untouched"
        }
    }
}

/// How a move that was refused ends the command.
const fn move_exit(refused: &TransferRefused) -> Exit {
    match refused {
        TransferRefused::Store(
            StoreError::Unavailable { .. }
            | StoreError::NoSpace { .. }
            | StoreError::Invalid { .. },
        )
        | TransferRefused::Unknown(_)
        | TransferRefused::Gone { .. } => Exit::Failed,
        TransferRefused::Store(_)
        | TransferRefused::Nothing(_)
        | TransferRefused::InFlight(_)
        | TransferRefused::Foreign { .. }
        | TransferRefused::MovedElsewhere { .. }
        | TransferRefused::Broken { .. }
        | TransferRefused::Changing => Exit::Refused,
    }
}

impl From<PlaceProblem> for Complaint {
    fn from(problem: PlaceProblem) -> Self {
        Self::new(problem.exit(), problem.to_string()).hint(problem.hint())
    }
}

impl From<TransferRefused> for PlaceProblem {
    fn from(refused: TransferRefused) -> Self {
        Self::NotMoved(Box::new(refused))
    }
}
