//! Host names as routes have them: one name, or every name below one.

use std::fmt;

/// The longest name (RFC 1035), and the longest part of one between dots.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// Which hosts a route takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(String),
    /// Every name below this one, which is kept with its leading dot.
    Below(String),
}

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHost {
    /// Nothing is there.
    #[error("a host name cannot be empty")]
    Empty,
    /// It names a port, which is not part of a name.
    #[error("a host name has no port")]
    Port,
    /// It begins like an address of the web.
    #[error("a host name has no `http://` and no path")]
    Address,
    /// It has letters that only its ASCII form (`xn--…`) can say to everybody.
    #[error("a host name has ASCII letters only; others have a form that begins with `xn--`")]
    NotAscii,
    /// A star stands elsewhere than alone in front.
    #[error("`*` stands for everything in front of a name: `*.example.com`")]
    Star,
    /// A part between dots is empty, too long, or has other characters than letters, digits, `-`.
    #[error("a host name is letters, digits and `-` between dots, at most 63 of them each")]
    Label,
    /// It is longer than any name.
    #[error("a host name has at most 253 characters")]
    TooLong,
}

impl HostPattern {
    /// Reads `shop.example.com`, `*.example.com`, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`BadHost`] says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if text.is_empty() {
            return Err(BadHost::Empty);
        }
        if !text.is_ascii() {
            return Err(BadHost::NotAscii);
        }
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or(BadHost::Port)?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| BadHost::Label)?;
            return Ok(Self::Exact(text.to_ascii_lowercase()));
        }
        if text.contains('/') {
            return Err(BadHost::Address);
        }
        if text.contains(':') {
            return Err(BadHost::Port);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(BadHost::Star);
        }
        if name.len() > NAME_BYTES {
            return Err(BadHost::TooLong);
        }
        if !name.split('.').all(is_label) {
            return Err(BadHost::Label);
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { Self::Below(format!(".{name}")) } else { Self::Exact(name) })
    }

    /// Whether it takes a request for `name` (without a port).
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => own.eq_ignore_ascii_case(name),
            Self::Below(own) => {
                let Some(at) = name.len().checked_sub(own.len()).filter(|at| *at > 0) else {
                    return false;
                };
                name.as_bytes()[at..].eq_ignore_ascii_case(own.as_bytes())
            }
        }
    }

    /// The more of a name is said, the higher; one name is above all that are below another.
    pub(crate) fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(own) => own.len(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(own) => out.write_str(own),
            Self::Below(own) => write!(out, "*{own}"),
        }
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_BYTES).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The name in a Host header: without its port; an IPv6 literal keeps its brackets, a full name
/// loses the dot at its end.
pub(crate) fn name_of(host: &str) -> &str {
    let name = match host.rfind(':') {
        Some(at) if host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()) => &host[..at],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// The port in a Host header, with its colon; empty when there is none.
pub(crate) fn port_of(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()) => &host[at..],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_port_case_and_last_dot() {
        let shop = HostPattern::parse("Shop.example.com").unwrap();
        for host in ["SHOP.example.com:8080", "shop.example.com", "shop.example.com.:80"] {
            assert!(shop.takes(name_of(host)), "{host}");
        }
        assert!(!shop.takes(name_of("example.com")) && !shop.takes(""));
        let six = HostPattern::parse("[::1]").unwrap();
        assert!(six.takes(name_of("[::1]:80")) && six.takes(name_of("[::1]")));
        assert_eq!((port_of("a:80"), port_of("a"), port_of("[::1]")), (":80", "", ""));
    }

    #[test]
    fn a_star_takes_everything_below_and_not_the_name_itself() {
        let below = HostPattern::parse("*.example.com").unwrap();
        assert!(below.takes("a.example.com") && below.takes("a.b.EXAMPLE.com"));
        for other in ["example.com", ".example.com", "aexample.com", "example.com.evil", ""] {
            assert!(!below.takes(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_name() {
        use BadHost::*;
        for (text, reason) in [
            ("", Empty),
            ("a:80", Port),
            ("http://a", Address),
            ("a/b", Address),
            ("bücher.example", NotAscii),
            ("*", Star),
            ("a.*.b", Star),
            ("*.*.b", Star),
            ("a..b", Label),
            (".a", Label),
            ("a.", Label),
            ("-a", Label),
            ("a b", Label),
            ("[::g]", Label),
            ("u@a", Label),
        ] {
            assert_eq!(HostPattern::parse(text), Err(reason), "{text}");
        }
        let long = [["a"; 60].join(""), ["b"; 60].join("")].join(".");
        assert_eq!(HostPattern::parse(&[&*long; 3].join(".")), Err(TooLong));
        assert_eq!(HostPattern::parse(&"a".repeat(64)), Err(Label));
    }
}
