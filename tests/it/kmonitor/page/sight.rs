//! A kmonitor as a process, and what a browser shows of it.

use std::collections::BTreeMap;

use ktests::{Browser, Daemon, Setup, eventually, http, ports};
use serde_json::{Value, json};

use crate::kmonitor::world::SOON;

/// Cells by column, and the state; a cell is its first element, or its text.
const ROWS: &str = "const table = document.getElementById(arguments[0]);
    if (table.hidden) return [];
    return [...table.querySelectorAll('tbody tr[data-state]')].map((row) => Object.fromEntries([...row.cells].map(
        (cell) => [cell.className.slice(2), (cell.firstElementChild ?? cell).textContent])));";

/// One row of a table: the texts by column.
pub(super) type Row = BTreeMap<String, String>;

/// A running kmonitor.
pub(super) struct Watched {
    pub(super) kmonitor: Daemon,
    pub(super) port: u16,
}

impl Watched {
    /// One with these clusters, given as name and section, that looks every `interval_ms`.
    pub(super) async fn start(clusters: &[(&str, String)], interval_ms: u32) -> Self {
        let port = ports::free_port();
        let names: Vec<&str> = clusters.iter().map(|(name, _)| *name).collect();
        let sections: String = clusters.iter().map(|(_, section)| section.as_str()).collect();
        let text = format!(
            "base:\n log_dir: ./log\n log_level: 4\n offset_interval_ms: {interval_ms}\n tree_interval_ms: {interval_ms}\n \
             stopped_after_ms: 300\n clusters: [{}]\nhttp_server:\n port: {port}\n read_timeout_ms: 1000\n \
             write_timeout_ms: 5000\n{sections}",
            names.join(", ")
        );
        let kmonitor = Setup::new("kmonitor", text).start().await;
        Self { kmonitor, port }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        http::get(&self.url(path)).await.unwrap().json().unwrap()
    }

    pub(super) async fn stop(mut self) {
        assert_eq!(self.kmonitor.terminate().await.code(), Some(0));
    }
}

/// A browser that shows the page.
pub(super) struct Sight {
    pub(super) browser: Browser,
}

impl Sight {
    pub(super) async fn open(url: &str) -> Self {
        let sight = Self {
            browser: Browser::open(1400, 900).await.unwrap(),
        };
        sight.browser.prefer_dark(false).await.unwrap();
        sight.browser.go(url).await.unwrap();
        sight
    }

    /// The rows of a table that are in the document.
    pub(super) async fn rows(&self, table: &str) -> Vec<Row> {
        let rows = self.browser.script(ROWS, json!([table])).await.unwrap();
        serde_json::from_value(rows).unwrap()
    }

    /// What names the rows of a table, in the order that is shown.
    async fn named(&self, table: &str) -> Vec<String> {
        let rows = self.rows(table).await.into_iter();
        rows.map(|mut row| {
            let name = row.remove("module").or_else(|| row.remove("partition"));
            name.unwrap_or_default()
        })
        .collect()
    }

    /// Waits until a table has these rows in this order.
    pub(super) async fn order(&self, table: &str, names: &[&str]) {
        let what = format!("{table} are {names:?}");
        eventually(&what, SOON, async || self.named(table).await == names).await;
    }

    /// Waits until a table has these rows.
    pub(super) async fn names(&self, table: &str, names: &[&str]) {
        let mut names = names.to_vec();
        names.sort_unstable();
        let what = format!("{table} are {names:?}");
        eventually(&what, SOON, async || {
            let mut named = self.named(table).await;
            named.sort_unstable();
            named == names
        })
        .await;
    }

    /// The text of the first element that a selector finds.
    pub(super) async fn text(&self, selector: &str) -> String {
        self.ask(
            "return document.querySelector(arguments[0]).textContent",
            selector,
        )
        .await
    }

    /// Waits until this text is in that element.
    pub(super) async fn shows(&self, selector: &str, text: &str) {
        eventually(&format!("{selector} says {text}"), SOON, async || {
            self.text(selector).await.contains(text)
        })
        .await;
    }

    /// How the modules are sorted by a column, as assistive technology is told.
    pub(super) async fn sorted(&self, column: &str) -> String {
        let script =
            "return document.querySelector(`#modules th.c-${arguments[0]}`).getAttribute('aria-sort')";
        self.ask(script, column).await
    }

    /// The text of what has the focus.
    pub(super) async fn focus(&self) -> String {
        self.ask("return document.activeElement.textContent", "").await
    }

    /// A computed style.
    pub(super) async fn style(&self, selector: &str, property: &str) -> String {
        let script = format!(
            "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue('{property}')"
        );
        self.ask(&script, selector).await
    }

    async fn ask(&self, script: &str, argument: &str) -> String {
        let told = self.browser.script(script, json!([argument])).await.unwrap();
        told.as_str().unwrap_or_default().to_owned()
    }

    /// Ends the browser, and gives what was written to its console: nothing, if all went well.
    pub(super) async fn quiet_end(self) -> Vec<String> {
        let console = self.browser.console().await.unwrap();
        self.close().await;
        console
    }

    pub(super) async fn close(self) {
        self.browser.close().await.unwrap();
    }
}
