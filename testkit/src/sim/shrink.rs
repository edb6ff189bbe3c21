//! From a plan that breaks an invariant to a smaller one that still does.

use super::fault::Plan;

/// Delta debugging over the faults of a plan: removes ever smaller parts as long as `fails` holds
/// for what is left. The result fails, and fails no more when any single fault is taken out.
pub fn shrink(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut parts = 2;
    while best.faults.len() > 1 {
        let faults: Vec<_> = best.faults.iter().map(|(n, fault)| (*n, *fault)).collect();
        let size = faults.len().div_ceil(parts);
        let smaller = (0..faults.len()).step_by(size).find_map(|start| {
            let end = (start + size).min(faults.len());
            let kept = faults[..start].iter().chain(&faults[end..]).copied();
            let candidate = Plan { faults: kept.collect(), gap: best.gap };
            fails(&candidate).then_some(candidate)
        });
        match smaller {
            Some(candidate) => {
                best = candidate;
                parts = 2;
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(faults.len()),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Fault;

    #[test]
    fn what_is_left_is_needed() {
        let faults = (0..12).map(|n| (n, Fault::LostAck)).collect();
        let plan = Plan { faults, gap: 3 };
        let needed = |plan: &Plan| plan.faults.contains_key(&3) && plan.faults.contains_key(&9);
        let small = shrink(&plan, needed);
        assert_eq!(small.to_string(), "3:LostAck,9:LostAck,gap=3");
    }
}
