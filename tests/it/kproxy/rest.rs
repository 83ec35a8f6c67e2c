//! The produce API that REST proxies share, as its clients use it.

use ktests::cluster;
use serde_json::{Value, json};

use super::world::{Answer, Proxy, topic};

const JSON: &str = "application/vnd.kafka.json.v2+json";
const BINARY: &str = "application/vnd.kafka.binary.v2+json";

async fn send(proxy: &Proxy, request: &str, content_type: &str, body: &str) -> Answer {
    let length = body.len();
    let mut client = proxy.connect().await;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    client.send(head).await;
    client.answer().await
}

async fn post(proxy: &Proxy, path: &str, content_type: &str, document: &Value) -> Answer {
    send(
        proxy,
        &format!("POST {path}"),
        content_type,
        &document.to_string(),
    )
    .await
}

async fn get(proxy: &Proxy, path: &str) -> Answer {
    send(proxy, &format!("GET {path}"), "", "").await
}

fn document(answer: &Answer) -> Value {
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.kafka.v2+json")
    );
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn records_of_both_forms_are_stored_where_the_answer_says() {
    let cluster = cluster();
    let topic = topic(&cluster, "rest", 3).await;
    let proxy = Proxy::start(&cluster).await;
    let path = format!("/topics/{topic}");
    let json_records = json!({"records": [{"key": "k", "value": {"n": 1}}, {"value": [1, 2]}]});
    let answer = post(&proxy, &path, JSON, &json_records).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut places: Vec<Value> = document(&answer)["offsets"].as_array().unwrap().clone();
    let binary_records = json!({"records": [{"key": "AP8=", "value": "AAE=", "partition": 2}]});
    let answer = post(&proxy, &path, BINARY, &binary_records).await;
    assert_eq!(document(&answer)["offsets"][0]["partition"], 2);
    places.extend(document(&answer)["offsets"].as_array().unwrap().clone());
    let answer = post(
        &proxy,
        &format!("{path}/partitions/1"),
        JSON,
        &json!({"records": [{"value": "x"}]}),
    )
    .await;
    assert_eq!(document(&answer)["offsets"][0]["partition"], 1);
    places.extend(document(&answer)["offsets"].as_array().unwrap().clone());
    proxy.stop().await;
    let records = cluster.read_topic(&topic).await.unwrap();
    let values: Vec<_> = places
        .iter()
        .map(|place| {
            let found = records
                .iter()
                .find(|record| place["partition"] == record.partition && place["offset"] == record.offset);
            (found.unwrap().key.clone(), found.unwrap().value.clone())
        })
        .collect();
    assert_eq!(
        values,
        [
            (Some(b"\"k\"".to_vec()), b"{\"n\":1}".to_vec()),
            (None, b"[1,2]".to_vec()),
            (Some(vec![0, 255]), vec![0, 1]),
            (None, b"\"x\"".to_vec())
        ]
    );
}

#[tokio::test]
async fn no_status_hides_a_failure() {
    let cluster = cluster();
    let topic = topic(&cluster, "rest-failures", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let path = format!("/topics/{topic}");
    let mixed = json!({"records": [{"value": 1}, {"value": 2, "partition": 9}]});
    let answer = post(&proxy, &path, JSON, &mixed).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    assert_eq!(document(&answer)["offsets"][0]["error_code"], Value::Null);
    assert_eq!(document(&answer)["offsets"][1]["error_code"], 40402);
    let one = json!({"records": [{"value": 1}]});
    for (path, content_type, body, status, code) in [
        ("/topics/no-such-topic".to_owned(), JSON, one.clone(), 404, 40401),
        (format!("{path}/partitions/9"), JSON, one.clone(), 404, 40402),
        (path.clone(), "application/json", one, 415, 415),
        (path.clone(), JSON, json!({"records": []}), 422, 422),
        (
            path.clone(),
            BINARY,
            json!({"records": [{"value": "?"}]}),
            422,
            422,
        ),
    ] {
        let answer = post(&proxy, &path, content_type, &body).await;
        assert_eq!(
            (answer.status, document(&answer)["error_code"].as_u64()),
            (status, Some(code)),
            "{path}"
        );
    }
    let answer = send(&proxy, &format!("DELETE {path}"), JSON, "").await;
    assert_eq!(
        (answer.status, document(&answer)["error_code"].as_u64()),
        (405, Some(405))
    );
    proxy.stop().await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
}

#[tokio::test]
async fn topics_are_listed_and_described() {
    let cluster = cluster();
    let topic = topic(&cluster, "rest-listed", 2).await;
    let proxy = Proxy::start(&cluster).await;
    let names = document(&get(&proxy, "/topics").await);
    let names = names.as_array().unwrap();
    assert!(names.contains(&json!(topic)));
    assert!(names.iter().all(|name| !name.as_str().unwrap().starts_with("__")));
    let described = document(&get(&proxy, &format!("/topics/{topic}")).await);
    assert_eq!(described["name"], topic.as_str());
    assert_eq!(described["partitions"].as_array().unwrap().len(), 2);
    let replica = &described["partitions"][1]["replicas"][0];
    assert_eq!(
        (&replica["leader"], &replica["in_sync"]),
        (&json!(true), &json!(true))
    );
    let answer = get(&proxy, "/topics/no-such-topic").await;
    assert_eq!(
        (answer.status, document(&answer)["error_code"].as_u64()),
        (404, Some(40401))
    );
    proxy.stop().await;
}
