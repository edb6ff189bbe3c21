//! The fence.

use onward_core::model::{Generation, OperationNumber};
use onward_core::order::{Admission, admit};
use onward_core::reconcile::Kept;

use crate::make::order_at;

#[test]
fn an_agent_without_an_order_accepts_any() {
    assert_eq!(admit(None, &order_at(0)), Admission::Accept);
    assert_eq!(Kept::default().admit(&order_at(7)), Admission::Accept);
}

#[test]
fn of_all_pairs_only_a_higher_generation_is_accepted() {
    for kept in 1..8 {
        for incoming in 1..8 {
            let expected = match incoming {
                n if n < kept => Admission::Stale { accepted: Generation(kept) },
                n if n > kept => Admission::Accept,
                _ => Admission::Same,
            };
            let admitted = admit(Some(&order_at(kept)), &order_at(incoming));
            assert_eq!(admitted, expected, "{incoming} after {kept}");
        }
    }
}

#[test]
fn another_order_of_the_same_generation_is_a_contradiction() {
    let mut other = order_at(3);
    other.releases.clear();
    assert_eq!(admit(Some(&order_at(3)), &other), Admission::Contradiction);
}

#[test]
fn a_higher_operation_does_not_pass_with_a_lower_generation() {
    let mut late = order_at(3);
    late.operation = OperationNumber(99);
    let accepted = Generation(4);
    assert_eq!(admit(Some(&order_at(4)), &late), Admission::Stale { accepted });
}

#[test]
fn a_restart_forgets_nothing() {
    let kept = Kept { order: Some(order_at(5)), ..Kept::default() };
    assert_eq!(kept.clone().restored(), kept);
}
