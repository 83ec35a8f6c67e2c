//! Exchanges with a server that misbehaves by script, byte by byte.

mod secure;

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::lease::{Lease, Terms};

/// What the server does with one connection, request by request.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static str),
    Close,
    Hang,
    AnswerAndClose(&'static str),
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn server<const N: usize>(script: [Act; N]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream, script).await;
    });
    address
}

async fn play<const N: usize>(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: [Act; N]) {
    let mut buffer = [0; 4096];
    for act in script {
        if matches!(act, Act::Close) {
            return;
        }
        if stream.read(&mut buffer).await.unwrap() == 0 {
            return;
        }
        match act {
            Act::Answer(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
            Act::AnswerAndClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                return;
            }
            Act::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
            Act::Close => return,
        }
    }
}

struct Open(Cell<bool>);

/// A lease that lasts for longer than a test.
fn lease() -> Lease {
    let lease = Lease::new();
    lease.extend(BootTime::now(), Terms::new(Duration::from_secs(600)));
    lease
}

impl Control for Open {
    fn may_start(&self) -> bool {
        self.0.get()
    }

    fn deadline(&self) -> BootTime {
        lease().deadline()
    }

    fn is_cut(&self, _cx: &mut Context<'_>) -> bool {
        false
    }
}

async fn push(link: &mut Link) -> Result<Answer, ExchangeError> {
    push_if(link, true).await
}

async fn push_if(link: &mut Link, open: bool) -> Result<Answer, ExchangeError> {
    push_with(link, &LIMITS, open).await
}

async fn push_with(link: &mut Link, limits: &Limits, open: bool) -> Result<Answer, ExchangeError> {
    let request = Request::post("/x")
        .header("host", "backend")
        .body(Value::from(&b"value"[..]))
        .unwrap();
    link.exchange(request, limits, &mut Timer::new(), &Open(Cell::new(open)))
        .await
}

async fn connect<const N: usize>(script: [Act; N]) -> Link {
    connect_to(&server(script).await).await
}

async fn connect_to(address: &str) -> Link {
    dial(&Dial {
        address,
        known: Vec::new(),
        tls: None,
    })
    .await
    .unwrap()
}

async fn dial(dial: &Dial<'_>) -> Result<Link, ConnectError> {
    Link::connect(dial, &LIMITS, &mut Timer::new(), &Open(Cell::new(true))).await
}

const LIMITS: Limits = Limits {
    connect: None,
    write: None,
    read: Some(Duration::from_millis(50)),
    answer_bytes: 10,
    kept_bytes: None,
};

#[tokio::test]
async fn a_connection_serves_one_exchange_after_another() {
    let mut link = connect([Act::Answer(OK), Act::Answer("HTTP/1.1 204 No Content\r\n\r\n")]).await;
    let answer = push(&mut link).await.unwrap();
    assert_eq!((answer.status, answer.reusable), (StatusCode::OK, true));
    assert_eq!(push(&mut link).await.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_closed_idle_connection_is_stale_and_no_failure() {
    let mut link = connect([Act::Answer(OK), Act::Close]).await;
    push(&mut link).await.unwrap();
    assert!(matches!(push(&mut link).await, Err(ExchangeError::Stale)));
}

#[tokio::test]
async fn what_was_said_before_the_request_is_no_answer_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (idle, is_idle) = tokio::sync::oneshot::channel();
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(OK.as_bytes()).await.unwrap();
        let () = is_idle.await.unwrap();
        // What proxies say when they close an idle connection.
        let timeout = b"HTTP/1.1 408 Request Time-out\r\nconnection: close\r\n\r\n";
        stream.write_all(timeout).await.unwrap();
        drop(stream);
        closed.send(()).unwrap();
    });
    let mut link = connect_to(&address).await;
    push(&mut link).await.unwrap();
    idle.send(()).unwrap();
    is_closed.await.unwrap();
    let outcome = push(&mut link).await;
    assert!(matches!(outcome, Err(ExchangeError::Stale)), "{outcome:?}");
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_a_failure() {
    let mut link = connect([Act::Close]).await;
    assert!(matches!(
        push(&mut link).await,
        Err(ExchangeError::Broken(_) | ExchangeError::Closed)
    ));
}

#[tokio::test]
async fn a_connection_that_breaks_inside_an_answer_is_a_failure() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let mut link = connect([Act::Answer(OK), Act::AnswerAndClose(half)]).await;
    push(&mut link).await.unwrap();
    assert!(matches!(push(&mut link).await, Err(ExchangeError::Broken(_))));
}

#[tokio::test]
async fn the_memory_of_an_answers_headers_serves_for_the_next_request() {
    let mut link = connect([Act::Answer(OK)]).await;
    assert_eq!(link.take_headers().capacity(), 0);
    push(&mut link).await.unwrap();
    let headers = link.take_headers();
    assert!(headers.is_empty() && headers.capacity() > 0);
}

#[tokio::test]
async fn the_read_time_out_runs_from_the_last_byte_sent() {
    let mut link = connect([Act::Hang]).await;
    assert!(matches!(push(&mut link).await, Err(ExchangeError::ReadTimeout)));
}

#[tokio::test]
async fn an_answer_over_the_limit_counts_by_its_status_and_ends_the_connection() {
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n01234567890123456789";
    let mut link = connect([Act::Answer(long)]).await;
    let answer = push(&mut link).await.unwrap();
    assert_eq!((answer.status, answer.reusable), (StatusCode::OK, false));
}

#[tokio::test]
async fn an_answer_that_closes_leaves_a_connection_that_is_stale() {
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let mut link = connect([Act::AnswerAndClose(close)]).await;
    assert_eq!(push(&mut link).await.unwrap().status, StatusCode::OK);
    assert!(matches!(push(&mut link).await, Err(ExchangeError::Stale)));
}

#[tokio::test]
async fn a_shut_gate_writes_nothing() {
    let mut link = connect([Act::Answer(OK)]).await;
    assert!(matches!(
        push_if(&mut link, false).await,
        Err(ExchangeError::Shut)
    ));
    assert_eq!(
        push(&mut link).await.unwrap().status,
        StatusCode::OK,
        "the server has seen one request"
    );
}

#[tokio::test]
async fn a_body_is_given_back_only_when_it_is_wanted_and_short_enough() {
    let keep = |bytes| Limits {
        kept_bytes: bytes,
        ..LIMITS
    };
    let mut link = connect([Act::Answer(OK); 4]).await;
    for (wanted, expected) in [
        (None, AnswerBody::Dropped),
        (Some(2), AnswerBody::Whole(b"ok".to_vec())),
        (Some(1), AnswerBody::TooLong),
    ] {
        let answer = push_with(&mut link, &keep(wanted), true).await.unwrap();
        assert_eq!((answer.body, answer.reusable), (expected, true));
    }
}

#[tokio::test]
async fn only_an_answer_that_is_no_success_says_when_to_come_again() {
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ndate: x\r\ncontent-length: 0\r\n\r\n";
    let fine = "HTTP/1.1 200 OK\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let mut link = connect([Act::Answer(busy), Act::Answer(fine)]).await;
    let advice = push(&mut link).await.unwrap().advice.unwrap();
    assert_eq!(
        (&advice.retry_after, advice.date.as_ref().unwrap()),
        (&HeaderValue::from(7), &HeaderValue::from_static("x"))
    );
    assert!(push(&mut link).await.unwrap().advice.is_none());
}

/// The lease was still good when the worker looked at it; then the process was stopped.
struct Woken;

impl Control for Woken {
    fn may_start(&self) -> bool {
        true
    }

    fn deadline(&self) -> BootTime {
        BootTime::now()
    }

    fn is_cut(&self, _cx: &mut Context<'_>) -> bool {
        false
    }
}

async fn push_woken(link: &mut Link) -> Result<Answer, ExchangeError> {
    let request = Request::post("/x")
        .header("host", "backend")
        .body(Value::from(&b"value"[..]))
        .unwrap();
    link.exchange(request, &LIMITS, &mut Timer::new(), &Woken).await
}

#[tokio::test]
async fn a_lease_that_ends_between_the_look_and_the_write_lets_no_byte_out() {
    let address = server([Act::Answer(OK)]).await;
    let mut link = connect_to(&address).await;
    let outcome = push_woken(&mut link).await;
    assert!(matches!(outcome, Err(ExchangeError::Shut)), "{outcome:?}");
    assert!(!link.wire.is_written() && link.wire.is_shut());
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n";
    let mut link = connect([Act::Answer(moved)]).await;
    assert_eq!(push(&mut link).await.unwrap().status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let refused = dial(&Dial {
        address: &address,
        known: Vec::new(),
        tls: None,
    })
    .await;
    assert!(matches!(refused, Err(ConnectError::Refused(_))));
}
