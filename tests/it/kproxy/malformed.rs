//! What attackers send: a thousand malformed requests from one seed, and requests inside of requests. Each is answered 4xx or cut, and
//! none becomes a record.

use fastrand::Rng;
use ktests::cluster;

use super::world::{Proxy, topic};

/// Decides the whole corpus; a failure names its number.
const SEED: u64 = 0x5eed_0007;
const REQUESTS: usize = 1_000;

/// The value that no record may have.
const FORGED: &str = "forged";

/// A request that breaks a rule of HTTP, whatever `random` says.
#[expect(clippy::too_many_lines, reason = "a table of broken rules")]
fn malformed(random: &mut Rng, topic: &str) -> Vec<u8> {
    let line = format!("POST /commit?topic={topic}&key=k HTTP/1.1\r\n");
    let text = match random.usize(0..13) {
        0 => {
            let length = one(
                random,
                &[
                    "+6",
                    "0x6",
                    "6,7",
                    "-1",
                    "6 6",
                    "6;",
                    "",
                    "18446744073709551616",
                    "six",
                ],
            );
            format!("{line}Host: x\r\nContent-Length: {length}\r\n\r\n{FORGED}")
        }
        1 => format!(
            "{line}Content-Length: 6\r\nHost: x\r\nContent-Length: {}\r\n\r\n{FORGED}",
            random.usize(7..100)
        ),
        2 => {
            let coding = one(
                random,
                &[
                    "identity",
                    "chunked, gzip",
                    "xchunked",
                    "chunked;q=1",
                    "\"chunked\"",
                    "",
                ],
            );
            format!("{line}Transfer-Encoding: {coding}\r\n\r\n6\r\n{FORGED}\r\n0\r\n\r\n")
        }
        3 => {
            let size = one(
                random,
                &["zz", "-6", "0x6", "6 6", "", "+6", "fffffffffffffffff", "\u{b}6"],
            );
            format!("{line}Transfer-Encoding: chunked\r\n\r\n{size}\r\n{FORGED}\r\n0\r\n\r\n")
        }
        4 => {
            let end = one(random, &["", "\n\n", "xx", "0\r\n\r\n"]);
            format!("{line}Transfer-Encoding: chunked\r\n\r\n6\r\n{FORGED}{end}0\r\n\r\n")
        }
        5 => {
            let header = one(
                random,
                &[
                    "Content-Length : 6",
                    " Content-Length: 6",
                    "Content\0Length: 6",
                    "Content-Length",
                    ": 6",
                    "Cönt: 6",
                    "a\tb: 6",
                ],
            );
            format!("{line}Host: x\r\n{header}\r\nContent-Length: 6\r\n\r\n{FORGED}")
        }
        6 => {
            let value = one(random, &["a\rb", "a\0b", "a\u{1}b", "a\r\n folded"]);
            format!("{line}X: {value}\r\nContent-Length: 6\r\n\r\n{FORGED}")
        }
        7 => {
            let line = one(
                random,
                &[
                    "POST /commit HTTP/9.9",
                    "POST /commit http/1.1",
                    "POST  /commit HTTP/1.1",
                    "POST /com mit HTTP/1.1",
                    "POST /commit",
                    "/commit HTTP/1.1",
                    "PO(ST /commit HTTP/1.1",
                    "POST /com\u{1}mit HTTP/1.1",
                ],
            );
            format!("{line}\r\nContent-Length: 6\r\n\r\n{FORGED}")
        }
        8 => {
            let flood = "a: b\r\n".repeat(random.usize(101..3_000));
            format!("{line}{flood}Content-Length: 6\r\n\r\n{FORGED}")
        }
        9 => {
            let long = "x".repeat(random.usize(70_000..200_000));
            format!("{line}X: {long}\r\nContent-Length: 6\r\n\r\n{FORGED}")
        }
        10 => {
            let long = "x".repeat(random.usize(20_000..100_000));
            let rest = one(
                random,
                &[
                    "6;NAME\r\nforged\r\n0\r\n\r\n",
                    "6\r\nforged\r\n0\r\nX: NAME\r\n\r\n",
                ],
            );
            let rest = rest.replace("NAME", &long);
            format!("{line}Transfer-Encoding: chunked\r\n\r\n{rest}")
        }
        11 => {
            // Cut short anywhere: the client says that nothing more comes.
            let whole = format!("{line}Host: x\r\nContent-Length: 6\r\n\r\n{FORGED}");
            whole[..random.usize(1..whole.len())].to_owned()
        }
        _ => return (0..random.usize(1..500)).map(|_| random.u8(..)).collect(),
    };
    text.into_bytes()
}

fn one<'w>(random: &mut Rng, words: &[&'w str]) -> &'w str {
    words[random.usize(..words.len())]
}

#[tokio::test]
async fn a_thousand_malformed_requests_store_nothing_and_end_nothing() {
    let cluster = cluster();
    let topic = topic(&cluster, "malformed", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut random = Rng::with_seed(SEED);
    for number in 0..REQUESTS {
        let request = malformed(&mut random, &topic);
        let mut client = proxy.connect().await;
        client.send(&request).await;
        // A client that was cut while it sent has nothing to finish.
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.ok();
        let answer = client.closed().await;
        let clean = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        let shown = request[..request.len().min(300)].escape_ascii();
        assert!(
            clean && !answer.contains("HTTP/1.1 2"),
            "request {number} ({shown}): {answer}"
        );
    }
    proxy.post(&format!("topic={topic}"), "good").await.stored();
    assert_eq!(cluster.read_values(&topic).await.unwrap(), [b"good"]);
    let told = proxy.daemon.log() + &proxy.daemon.output();
    assert!(!told.contains("panicked"), "{told}");
    proxy.stop().await;
}

#[tokio::test]
async fn valid_requests_with_bytes_changed_are_stored_exactly_when_they_are_answered_200() {
    let cluster = cluster();
    let topic = topic(&cluster, "mutated", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let valid = [
        format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"),
        format!(
            "POST /commit?topic={topic}&acks=-1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        ),
        format!(
            "POST /topics/{topic} HTTP/1.1\r\nContent-Type: application/vnd.kafka.json.v2+json\r\nContent-Length: 25\r\n\r\n\
             {{\"records\":[{{\"value\":1}}]}}"
        ),
    ];
    let mut random = Rng::with_seed(SEED);
    let mut stored = 0;
    for _ in 0..REQUESTS / 2 {
        let mut request = one_of(&mut random, &valid).clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..request.len());
            match random.usize(0..3) {
                0 => request[at] = random.u8(..),
                1 => request.insert(at, random.u8(..)),
                _ => drop(request.remove(at)),
            }
        }
        let mut client = proxy.connect().await;
        client.send(&request).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.ok();
        stored += client.closed().await.matches("HTTP/1.1 200 ").count();
    }
    // Changed bytes of the query or the body leave a good request.
    assert!(stored > 0);
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), stored);
    proxy.stop().await;
}

fn one_of<'t>(random: &mut Rng, texts: &'t [String]) -> &'t String {
    &texts[random.usize(..texts.len())]
}

#[tokio::test]
async fn no_request_is_smuggled_inside_another() {
    let cluster = cluster();
    let topic = topic(&cluster, "smuggled", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let inner =
        format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n{FORGED}");
    let line = format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\n");
    // What reads by length takes all of this for one body, what reads chunks finds a second request.
    let body = format!("5\r\nouter\r\n0\r\n\r\n{inner}");
    let length = format!("Content-Length: {}\r\n", body.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (headers, is_taken) in [
        (format!("{length}{chunked}"), true),
        (format!("{chunked}{length}"), true),
        (format!("{chunked}Transfer-Encoding: identity\r\n"), false),
        (format!("Transfer-Encoding: identity\r\n{length}"), false),
        (format!("{length}Transfer-Encoding: xchunked\r\n"), false),
        (format!("{length}Transfer-Encoding : chunked\r\n"), false),
        (format!("{length}Transfer-Encoding:\u{b}chunked\r\n"), false),
        (format!("{length}Content-Length: 5\r\n"), false),
    ] {
        let before = cluster.read_topic(&topic).await.unwrap().len();
        let mut client = proxy.connect().await;
        client.send(format!("{line}{headers}\r\n{body}")).await;
        client.finish().await;
        let answer = client.closed().await;
        // One answer at most, and no second request on this connection.
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{headers}: {answer}");
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            is_taken,
            "{headers}: {answer}"
        );
        let stored = cluster.read_topic(&topic).await.unwrap().len();
        assert_eq!(stored - before, usize::from(is_taken), "{headers}");
    }
    for value in cluster.read_values(&topic).await.unwrap() {
        assert_eq!(value, b"outer");
    }
    proxy.stop().await;
}
