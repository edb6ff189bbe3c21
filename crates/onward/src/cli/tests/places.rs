//! What keeps a state where it is.

use onward_core::model::{Generation, OperationNumber};
use onward_core::ports::StoreError;
use onward_store::state::{Address, TransferRefused};

use super::{every, page};
use crate::cli::place_problem::PlaceProblem;

#[test]
fn each_problem_with_places_says_what_to_type() {
    let all = every! { PlaceProblem:
        PlaceProblem::NoStore { .. } => PlaceProblem::NoStore {
            what: "no store has this scheme".to_owned(), help: "write \"s3://…\"".to_owned(),
        },
        PlaceProblem::NotMoved(_) => PlaceProblem::NotMoved(Box::new(TransferRefused::Foreign {
            to: Address::new("s3://bucket/state"),
        })),
        PlaceProblem::MoveOfAnother(_) => PlaceProblem::MoveOfAnother("/other/.onward/state".to_owned()),
        PlaceProblem::TwoStates { .. } => PlaceProblem::TwoStates {
            url: "s3://bucket/state".to_owned(), here: "/shop/.onward/state".to_owned(),
            generation: Generation(12),
        },
    };
    insta::assert_snapshot!(page(all));
}

#[test]
fn each_reason_not_to_move_says_what_to_type() {
    let at = || Address::new("s3://bucket/state");
    let here = || Address::new("/shop/.onward/state");
    let all = every! { TransferRefused:
        TransferRefused::Store(_) => TransferRefused::Store(StoreError::Unavailable {
            place: "s3://bucket/state".to_owned(), reason: "no connection".to_owned(),
        }),
        TransferRefused::Nothing(_) => TransferRefused::Nothing(here()),
        TransferRefused::InFlight(_) => TransferRefused::InFlight(OperationNumber(7)),
        TransferRefused::Foreign { .. } => TransferRefused::Foreign { to: at() },
        TransferRefused::MovedElsewhere { .. } =>
            TransferRefused::MovedElsewhere { from: here(), to: at() },
        TransferRefused::Broken { .. } =>
            TransferRefused::Broken { from: here(), generation: Generation(3) },
        TransferRefused::Gone { .. } =>
            TransferRefused::Gone { to: at(), generation: Generation(3) },
        TransferRefused::Changing => TransferRefused::Changing,
        TransferRefused::Unknown(_) => TransferRefused::Unknown("the time was over".to_owned()),
    };
    let all =
        all.into_iter().map(|(name, refused)| (name, PlaceProblem::NotMoved(Box::new(refused))));
    insta::assert_snapshot!(page(all.collect()));
}
