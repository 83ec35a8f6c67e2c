//! The module that docs/migration.md has for the example of the PHP proxy, against a backend written for that.

use ktests::{Backend, Behaviour, Seen, When};
use serde_json::{Value, json};

use super::world::{Scene, unkeyed};

/// The example, as it stands in the document.
fn example() -> Value {
    let text = include_str!("../../../docs/migration.md");
    let (_, section) = text.split_once("## From kafka-consumer-proxy").unwrap();
    let (_, block) = section.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    serde_yaml::from_str(block).unwrap()
}

/// The form field with this name.
fn field(seen: &Seen, name: &str) -> String {
    let body = std::str::from_utf8(&seen.body).unwrap();
    let mut fields = body.split('&').filter_map(|field| field.split_once('='));
    let (_, value) = fields
        .find(|(field, _)| *field == name)
        .expect("the field is there");
    value.to_owned()
}

#[tokio::test]
async fn the_example_of_the_php_proxy_is_pushed_as_it_was() {
    let (scene, backend) = (Scene::new("php", 2).await, Backend::start().await);
    let says = |status, body: &str| Behaviour::status(status).with_body(body.to_owned());
    // PHP looks at `errno` alone: neither a 200 delivers nor a 500 fails.
    backend.on(When::always(), says(500, r#"{"errno":0}"#));
    backend.on(When::always().attempt(1), says(200, r#"{"errno":1}"#));
    let mut module = example();
    module["topic"] = json!(scene.name);
    module["backend_servers"] = json!(backend.addresses());
    // Its two seconds are not what is shown here.
    module["fail_retry_interval_ms"] = json!(50);
    module["zk_offset_update_interval_sec"] = json!(1);
    let records = (0..10).map(|number| unkeyed(format!("m{number} & more")).in_partition(number % 2));
    scene.produce(records).await;
    let _daemon = scene.start(&module).await;
    scene.stores_all([(0, 5), (1, 5)]).await;

    let requests = backend.requests();
    assert_eq!(requests.len(), 20, "each twice");
    for (partition, first) in [("0", 0), ("1", 1)] {
        let pushed = requests.iter().filter(|seen| field(seen, "p") == partition);
        let pushed: Vec<&Seen> = pushed.collect();
        for (nth, seen) in pushed.iter().enumerate() {
            let offset = nth / 2;
            assert_eq!(
                field(seen, "o"),
                offset.to_string(),
                "in order, each twice in a row"
            );
            assert_eq!(field(seen, "m"), format!("m{}+%26+more", 2 * offset + first));
            assert_eq!(seen.uri, "/inner/mqdemo/test");
            assert_eq!(seen.header("host"), Some("api.dqd.com"));
        }
        let overlaps = pushed.windows(2).any(|two| two[0].end > Some(two[1].start));
        assert!(!overlaps, "one push at a time in a partition");
    }
}
