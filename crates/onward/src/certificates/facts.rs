//! What a certificate says about itself.

use jiff::Timestamp;
use onward_proxy::{Certificate, Certificates, PrivateKey};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// What the first certificate of a chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The host names that it is for, in lower case.
    pub names: Vec<String>,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Who issued it.
    pub issuer: String,
}

/// Why a text says nothing as a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has no PEM block of a certificate.
    #[error("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)")]
    NotPem,
    /// What is in the block is no certificate.
    #[error("what it holds is not a certificate")]
    NotX509,
    /// It names no host.
    #[error("the certificate is for no host name")]
    Nameless,
    /// It does not fit its key, or is of a kind that nobody can use.
    #[error("{0}")]
    Unusable(String),
}

/// Reads a chain in PEM.
///
/// # Errors
/// [`Unreadable`].
pub fn facts(chain: &str) -> Result<Facts, Unreadable> {
    let first = Pem::iter_from_buffer(chain.as_bytes()).next();
    let pem = first.and_then(Result::ok).filter(|own| own.label == "CERTIFICATE");
    let pem = pem.ok_or(Unreadable::NotPem)?;
    let (_, parsed) = X509Certificate::from_der(&pem.contents).map_err(|_| Unreadable::NotX509)?;
    let names = names(&parsed);
    if names.is_empty() {
        return Err(Unreadable::Nameless);
    }
    let validity = parsed.validity();
    Ok(Facts {
        names,
        not_before: time(validity.not_before)?,
        not_after: time(validity.not_after)?,
        issuer: issuer(&parsed),
    })
}

fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let names = parsed.subject_alternative_name().ok().flatten();
    let all = names.iter().flat_map(|own| &own.value.general_names);
    all.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    })
    .collect()
}

fn time(time: ASN1Time) -> Result<Timestamp, Unreadable> {
    Timestamp::from_second(time.timestamp()).map_err(|_| Unreadable::NotX509)
}

/// The organisation and the name of the issuer, as far as it has them.
fn issuer(parsed: &X509Certificate<'_>) -> String {
    let issuer = parsed.issuer();
    let organisation = issuer.iter_organization().next().and_then(|own| own.as_str().ok());
    let name = issuer.iter_common_name().next().and_then(|own| own.as_str().ok());
    match (organisation, name) {
        (Some(organisation), Some(name)) if !name.contains(organisation) => {
            format!("{organisation} {name}")
        }
        (_, Some(name)) => name.to_owned(),
        (Some(organisation), None) => organisation.to_owned(),
        (None, None) => "an unnamed issuer".to_owned(),
    }
}

/// Whether proxies can show a chain with this key.
///
/// # Errors
/// [`Unreadable::Unusable`] says why not; nothing of the key.
pub(super) fn fits(facts: &Facts, chain: &str, key: &PrivateKey) -> Result<(), Unreadable> {
    let (names, chain) = (facts.names.clone(), chain.to_owned());
    let all = Certificates { all: vec![Certificate { names, chain, key: key.clone() }] };
    all.validate().map_err(|error| Unreadable::Unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_for_whom_and_how_long() {
        let mut params = rcgen::CertificateParams::new(vec![
            "Shop.example.com".to_owned(),
            "*.example.com".to_owned(),
        ])
        .unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2026, 4, 2);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let facts = facts(&made.pem()).unwrap();
        assert_eq!(facts.names, ["shop.example.com", "*.example.com"]);
        assert_eq!(facts.not_before.to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(facts.not_after.to_string(), "2026-04-02T00:00:00Z");
        assert_eq!(facts.issuer, "Example Test CA");
        let own = PrivateKey::new(key.serialize_pem().into());
        assert_eq!(fits(&facts, &made.pem(), &own), Ok(()));
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let error = fits(&facts, &made.pem(), &PrivateKey::new(other.into())).unwrap_err();
        assert!(error.to_string().ends_with("its key is another's"), "{error}");
    }

    #[test]
    fn what_is_no_certificate() {
        assert_eq!(facts("").unwrap_err(), Unreadable::NotPem);
        let key = rcgen::KeyPair::generate().unwrap();
        assert_eq!(facts(&key.serialize_pem()).unwrap_err(), Unreadable::NotPem);
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(facts(empty).unwrap_err(), Unreadable::NotX509);
        let nameless = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        assert_eq!(facts(&nameless.pem()).unwrap_err(), Unreadable::Nameless);
    }
}
