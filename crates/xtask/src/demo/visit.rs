//! The commands a person would type, with the answers they get now.

use anyhow::Result;
use ktests::http;

use super::stage::Stage;

pub(super) async fn visit(stage: &Stage) -> Result<()> {
    println!("\nWhat you would type, and the answers:");
    let topic = &stage.modules[0].topic;
    let commit = format!("http://{}/commit?topic={topic}&key=hello", stage.proxy);
    println!("$ curl --data-binary 'hello world' '{commit}'");
    println!("{}", http::post(&commit, "hello world").await?.text().trim_end());
    let unknown = format!("http://{}/commit?topic=no_such_topic", stage.proxy);
    println!("$ curl --data-binary 'hello world' '{unknown}'");
    println!("{}", http::post(&unknown, "hello world").await?.text().trim_end());
    for url in [
        format!("http://{}/delay", stage.monitor),
        format!("http://{}/delay?format=zabbix", stage.monitor),
        stage.kproxy.admin("/readyz"),
        stage.kmonitor.admin("/healthz"),
    ] {
        println!("$ curl '{url}'");
        println!("{}", http::get(&url).await?.text().trim_end());
    }
    Ok(())
}
