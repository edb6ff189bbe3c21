//! The agent's own log: a time and a sentence a line, on standard error, which is `agent.log`.

/// Notes what happened, for a person who wants to understand it later.
pub(super) fn note(text: impl std::fmt::Display) {
    let now = jiff::Timestamp::now();
    eprintln!("{now:.3} {text}");
}
