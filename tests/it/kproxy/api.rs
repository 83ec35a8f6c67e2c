//! The OpenAPI document that kproxy serves, held against kproxy by schemathesis: thousands of requests that keep the document, and
//! others that break it, and every answer has to be one that it describes.

use std::path::Path;
use std::process::Command;

use ktests::{cluster, paths};

use super::world::{Proxy, topic};

/// The program, as `cargo xtask test` has installed it.
const PROGRAM: &str = "KTESTS_SCHEMATHESIS";

/// What schemathesis has to know besides the document.
fn settings(topic: &str) -> String {
    format!(
        "[parameters]
# Nearly every made-up name is one of no topic.
topic = \"{topic}\"
partition = 0
# Whether there is a body cannot depend on a parameter there.
tombstone = \"0\"

[checks.negative_data_rejection]
# One wrong record of many is refused alone.
expected-statuses = [\"207\", \"4xx\", \"503\"]
"
    )
}

#[tokio::test]
async fn every_answer_is_one_that_the_openapi_document_describes() {
    let program = std::env::var(PROGRAM).expect("schemathesis is there: run `cargo xtask test api`");
    let cluster = cluster();
    let topic = topic(&cluster, "api", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("schemathesis.toml");
    std::fs::write(&file, settings(&topic)).unwrap();
    let url = format!("http://127.0.0.1:{}/openapi.json", proxy.port);
    let output = tokio::task::spawn_blocking({
        let directory = directory.path().to_owned();
        move || run(&program, &file, &url, &directory)
    });
    let output = output.await.unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let stored = cluster.read_topic(&topic).await.unwrap().len();
    assert!(stored > 50, "only {stored} records were stored: {told}");
    proxy.stop().await;
}

fn run(program: &str, file: &Path, url: &str, directory: &Path) -> std::process::Output {
    Command::new(program)
        .arg("--config-file")
        .arg(file)
        .args(["run", url, "--no-color", "--generation-deterministic"])
        .args(["--max-examples", "30", "--phases", "examples,coverage,fuzzing"])
        .current_dir(directory)
        .env("PYTHONPATH", paths::workspace().join("tests/api"))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("schemathesis can be started")
}
