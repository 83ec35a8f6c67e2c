//! What has to hold of the parsers for every input; the targets of `crates/kproxy/fuzz` run it with made-up ones. Their corpora, and
//! mutants of them, run here as plain tests.

use bytes::BytesMut;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use kcommon::kafka::TopicName;

use crate::access::shown;
use crate::encoding::Encoding;
use crate::entry::{BadEntry, Entry};
use crate::headers::RecordHeaders;
use crate::ndjson::Lines;
use crate::prefixed;
use crate::request;
use crate::rest::{Embedded, read_envelope};

/// What a format gives for a whole body.
type Entries = Vec<Result<Entry, BadEntry>>;

/// A query that is taken has a legal topic and no number out of its range, with and without the original's `acks`.
///
/// # Panics
/// It has not.
pub fn query(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let strict = request::parse(text, false);
    let legacy = request::parse(text, true);
    if let Ok(commit) = &strict {
        assert_eq!(Ok(commit), legacy.as_ref());
    }
    let Ok(commit) = legacy else { return };
    assert!(TopicName::check(&commit.topic).is_ok());
    assert!(commit.key.as_ref().is_none_or(|key| !key.is_empty()));
    assert!(!commit.tombstone || commit.key.is_some());
    assert!(commit.partition.is_none_or(|partition| partition >= 0));
    assert!(commit.timestamp.is_none_or(|timestamp| timestamp >= 0));
    if let Ok(batch) = request::parse_batch(text, true) {
        assert_eq!((&batch.topic, batch.acks), (&commit.topic, commit.acks));
        assert!(commit.key.is_none() && commit.partition.is_none());
    }
}

/// Headers, each a line `name: value`, are read without harm, and what the record gets of them is counted in full.
///
/// # Panics
/// It is not.
pub fn headers(data: &[u8]) {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    let record = RecordHeaders::of(&map, "x-kafka-header-");
    let counted = record.bytes();
    let in_full = record.into_inner().map_or(0, |headers| {
        use rdkafka::message::Headers as _;
        let sizes = headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        sizes.sum()
    });
    assert!(counted >= in_full, "{counted} bytes are counted of {in_full}");
    // Nothing is made up that was not sent.
    assert!(Encoding::of(&map) == Ok(Encoding::Identity) || map.contains_key(CONTENT_ENCODING));
    assert!(Embedded::of(&map).is_none() || map.contains_key(CONTENT_TYPE));
    for value in map.get_all(AUTHORIZATION) {
        let shown = shown::Shown::of(value.as_bytes());
        assert!(shown.is_none() || value.as_bytes().contains(&b' '));
    }
}

/// Lines are the same records however the body is cut into pieces; the first byte says how.
///
/// # Panics
/// They are not.
pub fn ndjson(data: &[u8]) {
    same_in_pieces(data, || {
        let mut lines = Lines::default();
        move |arrived: &mut BytesMut, ended| lines.take(arrived, ended)
    });
}

/// The same of length-prefixed records.
///
/// # Panics
/// They are not.
pub fn prefixed(data: &[u8]) {
    same_in_pieces(data, || prefixed::take);
}

/// Records of a document that are taken are in their ranges, in both ways to write them.
///
/// # Panics
/// They are not.
pub fn envelope(data: &[u8]) {
    for embedded in [Embedded::Json, Embedded::Binary] {
        for of_path in [None, Some(7)] {
            for entry in read_envelope(data, embedded, of_path).into_iter().flatten() {
                check(&entry);
                assert!(
                    of_path.is_none()
                        || entry.is_err()
                        || entry.is_ok_and(|entry| entry.partition == of_path)
                );
            }
        }
    }
}

fn same_in_pieces<T>(data: &[u8], format: impl Fn() -> T)
where
    T: FnMut(&mut BytesMut, bool) -> Option<Result<Entry, BadEntry>>,
{
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let whole = entries(body.chunks(body.len().max(1)), format());
    let pieces = entries(body.chunks(usize::from(*first).max(1)), format());
    assert_eq!(whole, pieces);
    whole.iter().for_each(check);
}

fn entries<'d>(
    pieces: impl Iterator<Item = &'d [u8]>,
    mut take: impl FnMut(&mut BytesMut, bool) -> Option<Result<Entry, BadEntry>>,
) -> Entries {
    let mut arrived = BytesMut::new();
    let mut found = Entries::new();
    for piece in pieces {
        arrived.extend_from_slice(piece);
        found.extend(std::iter::from_fn(|| take(&mut arrived, false)));
    }
    found.extend(std::iter::from_fn(|| take(&mut arrived, true)));
    found
}

fn check(entry: &Result<Entry, BadEntry>) {
    let Ok(entry) = entry else { return };
    assert!(entry.key.as_ref().is_none_or(|key| !key.is_empty()));
    assert!(entry.value.as_ref().is_none_or(|value| !value.is_empty()));
    assert!(entry.value.is_some() || entry.key.is_some());
    assert!(entry.partition.is_none_or(|partition| partition >= 0));
    assert!(entry.timestamp.is_none_or(|timestamp| timestamp >= 0));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fastrand::Rng;

    use super::*;

    const SEED: u64 = 0x5eed_0008;
    const MUTANTS: usize = 2_000;

    /// Runs every file of a target's corpus, and mutants of them.
    fn run(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let mut files: Vec<_> = std::fs::read_dir(corpus)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(files.len() >= 4, "{name} has no corpus");
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        seeds.iter().for_each(|seed| target(seed));
        let mut random = Rng::with_seed(SEED);
        for _ in 0..MUTANTS {
            let mut data = seeds[random.usize(..seeds.len())].clone();
            for _ in 0..random.usize(1..6) {
                mutate(&mut data, &mut random);
            }
            target(&data);
        }
    }

    fn mutate(data: &mut Vec<u8>, random: &mut Rng) {
        let at = random.usize(..=data.len());
        match random.usize(0..4) {
            0 => data.insert(at, random.u8(..)),
            1 if at < data.len() => data[at] = random.u8(..),
            2 if at < data.len() => drop(data.remove(at)),
            _ => data.truncate(at),
        }
    }

    #[test]
    fn every_input_of_the_corpora_and_their_mutants_holds() {
        run("query", query);
        run("headers", headers);
        run("ndjson", ndjson);
        run("prefixed", prefixed);
        run("envelope", envelope);
    }
}
