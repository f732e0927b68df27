//! A pool's certificate and token, and their rotation. The steps are pure; [`make`] is not.
//!
//! A kubelet takes minutes to update a changed Secret in a pod, so a rotation takes three writes, one
//! overlap apart. The operator and a runner are at most one version apart, and any two neighbouring
//! versions work together:
//!
//! | version | runner serves | runner accepts | operator sends | operator trusts |
//! |---|---|---|---|---|
//! | settled | old | old | old | old |
//! | announced | old | old, new | old | old, new |
//! | served | new | old, new | new | old, new |
//! | settled | new | new | new | new |
//!
//! A certificate's authority signs that one certificate, and its key is kept nowhere.

use super::published::Access;
use crate::time::later;
use fovea_store::Sha256;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The version in the table above.
const STAGE: &str = "fovea.dev/rotation";
const SINCE: &str = "fovea.dev/rotation-since";
/// Creation and expiry of the served certificate.
const MADE: &str = "fovea.dev/made-at";
const NOT_AFTER: &str = "fovea.dev/not-after";
/// Digest of the data, to detect changes by others.
const DIGEST: &str = "fovea.dev/contents";

/// Key of the object store's certificate authorities in the Secret: they are not part of the rotation.
pub(crate) const STORE_AUTHORITIES: &str = "store-ca.crt";

const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    /// The served certificate, as PEM.
    pub certificate: String,
    /// The certificate's private key, as PEM.
    pub key: String,
    /// PEM: what signed the certificate.
    pub authority: String,
    pub token: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub data: BTreeMap<String, String>,
    /// State of the rotation.
    pub annotations: BTreeMap<String, String>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contents({:?})", self.annotations)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    pub life: Duration,
    pub overlap: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub contents: Contents,
    pub write: bool,
    pub due: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Settled,
    Announced,
    Served,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Settled, Self::Announced, Self::Served];

    fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Announced => "announced",
            Self::Served => "served",
        }
    }
}

struct State {
    stage: Stage,
    since: Timestamp,
    made: Timestamp,
    not_after: Timestamp,
}

impl Contents {
    /// The contents of a Secret that are rotated; `None` if they are not all text.
    pub(crate) fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.iter().flatten();
        let data = data.filter(|(key, _)| *key != STORE_AUTHORITIES);
        let data =
            data.map(|(key, bytes)| Some((key.clone(), String::from_utf8(bytes.0.clone()).ok()?)));
        let ours = |(key, _): &(&String, &String)| {
            [STAGE, SINCE, MADE, NOT_AFTER, DIGEST].contains(&key.as_str())
        };
        let annotations = secret.metadata.annotations.iter().flatten().filter(ours);
        Some(Self {
            data: data.collect::<Option<_>>()?,
            annotations: annotations
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        })
    }

    pub(crate) fn access(&self) -> Option<Access> {
        Some(Access {
            token: self.data.get("token")?.clone(),
            authorities: self.data.get("ca.crt")?.clone(),
        })
    }

    /// The state of the rotation; `None` if others have changed the contents.
    fn state(&self, hosts: &str) -> Option<State> {
        let note = |key| self.annotations.get(key);
        let time = |key| note(key)?.parse::<Timestamp>().ok();
        let stage = note(STAGE)?;
        (*note(DIGEST)? == self.digest() && self.data.get("hosts")? == hosts).then_some(())?;
        Some(State {
            stage: Stage::ALL.into_iter().find(|each| each.word() == stage)?,
            since: time(SINCE)?,
            made: time(MADE)?,
            not_after: time(NOT_AFTER)?,
        })
    }

    fn digest(&self) -> String {
        let text = serde_json::to_string(&self.data).unwrap_or_default();
        Sha256::of(text.as_bytes()).to_string()
    }

    fn get(&self, key: &str) -> String {
        self.data.get(key).cloned().unwrap_or_default()
    }

    fn noted(data: BTreeMap<&str, String>, state: &State) -> Self {
        let data = data
            .into_iter()
            .map(|(key, text)| (key.to_owned(), text))
            .collect();
        let mut contents = Self {
            data,
            annotations: BTreeMap::new(),
        };
        let digest = contents.digest();
        let notes = [
            (STAGE, state.stage.word().to_owned()),
            (SINCE, state.since.to_string()),
            (MADE, state.made.to_string()),
            (NOT_AFTER, state.not_after.to_string()),
            (DIGEST, digest),
        ];
        contents.annotations = notes.map(|(key, text)| (key.to_owned(), text)).into();
        contents
    }
}

/// The next step of the rotation, for a certificate for `hosts`. Contents that are missing, expired or
/// changed by others are replaced.
pub(crate) fn step<E>(
    found: Option<&Contents>,
    hosts: &str,
    now: Timestamp,
    periods: Periods,
    make: impl FnOnce() -> Result<Material, E>,
) -> Result<Step, E> {
    let known = found.and_then(|found| Some((found, found.state(hosts)?)));
    let Some((found, state)) = known.filter(|(_, state)| now < state.not_after) else {
        let contents = fresh(&make()?, hosts, now, periods);
        return Ok(Step {
            due: due(&contents, hosts, periods, now),
            contents,
            write: true,
        });
    };
    let is_due = due(found, hosts, periods, now) <= now;
    let contents = match state.stage {
        _ if !is_due => found.clone(),
        Stage::Settled => announce(found, &state, &make()?, now),
        Stage::Announced => serve(found, &state, now, periods),
        Stage::Served => settle(found, &state, now),
    };
    Ok(Step {
        write: is_due,
        due: due(&contents, hosts, periods, now),
        contents,
    })
}

/// Time of the next step; a rotation starts after two thirds of the lifetime.
fn due(contents: &Contents, hosts: &str, periods: Periods, now: Timestamp) -> Timestamp {
    let Some(state) = contents.state(hosts) else {
        return now;
    };
    if state.stage == Stage::Settled {
        let whole = Duration::try_from(state.not_after.duration_since(state.made));
        return later(
            state.made,
            whole.unwrap_or_default().min(periods.life) * 2 / 3,
        );
    }
    later(state.since, periods.overlap)
}

fn fresh(new: &Material, hosts: &str, now: Timestamp, periods: Periods) -> Contents {
    let data = BTreeMap::from([
        ("tls.crt", new.certificate.clone()),
        ("tls.key", new.key.clone()),
        ("ca.crt", new.authority.clone()),
        ("token", new.token.clone()),
        ("tokens", lines(&[&new.token])),
        ("hosts", hosts.to_owned()),
    ]);
    let state = State {
        stage: Stage::Settled,
        since: now,
        made: now,
        not_after: later(now, periods.life),
    };
    Contents::noted(data, &state)
}

fn announce(found: &Contents, state: &State, new: &Material, now: Timestamp) -> Contents {
    let old = |key| found.get(key);
    let data = BTreeMap::from([
        ("tls.crt", old("tls.crt")),
        ("tls.key", old("tls.key")),
        ("ca.crt", format!("{}{}", old("ca.crt"), new.authority)),
        ("token", old("token")),
        ("tokens", lines(&[&new.token, &old("token")])),
        ("hosts", old("hosts")),
        ("next.crt", new.certificate.clone()),
        ("next.key", new.key.clone()),
        ("next-ca.crt", new.authority.clone()),
        ("next-token", new.token.clone()),
    ]);
    let state = State {
        stage: Stage::Announced,
        since: now,
        ..*state
    };
    Contents::noted(data, &state)
}

fn serve(found: &Contents, state: &State, now: Timestamp, periods: Periods) -> Contents {
    let old = |key| found.get(key);
    let data = BTreeMap::from([
        ("tls.crt", old("next.crt")),
        ("tls.key", old("next.key")),
        ("ca.crt", old("ca.crt")),
        ("token", old("next-token")),
        ("tokens", old("tokens")),
        ("hosts", old("hosts")),
        ("next-ca.crt", old("next-ca.crt")),
    ]);
    let state = State {
        stage: Stage::Served,
        since: now,
        // Made at its announcement.
        made: state.since,
        not_after: later(state.since, periods.life),
    };
    Contents::noted(data, &state)
}

fn settle(found: &Contents, state: &State, now: Timestamp) -> Contents {
    let old = |key| found.get(key);
    let data = BTreeMap::from([
        ("tls.crt", old("tls.crt")),
        ("tls.key", old("tls.key")),
        ("ca.crt", old("next-ca.crt")),
        ("token", old("token")),
        ("tokens", lines(&[&old("token")])),
        ("hosts", old("hosts")),
    ]);
    let state = State {
        stage: Stage::Settled,
        since: now,
        ..*state
    };
    Contents::noted(data, &state)
}

fn lines(tokens: &[&str]) -> String {
    tokens.iter().flat_map(|token| [*token, "\n"]).collect()
}

/// Makes a key, a certificate for `hosts` that is valid for `life`, its authority, and a token of 256 random
/// bits.
pub(crate) fn make(hosts: &str, now: Timestamp, life: Duration) -> Result<Material, rcgen::Error> {
    // Whole days, and one more at both ends, in case clocks differ.
    let date = |time: Timestamp| {
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    let begins = date(now.checked_sub(DAY).unwrap_or(now));
    let ends = date(later(now, life + 2 * DAY));
    let params = |name: &str, hosts: Vec<String>| {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (begins, ends);
        Ok::<_, rcgen::Error>(params)
    };
    let mut authority = params("fovea-runner-ca", Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = params("fovea-runner", vec![hosts.to_owned()])?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(Material {
        certificate: leaf.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
        authority: authority_pem,
        token: Sha256::of(&rand::random::<[u8; 32]>()).to_string(),
    })
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
