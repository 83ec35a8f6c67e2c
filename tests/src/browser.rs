//! Chromium without a window, driven over the WebDriver protocol: what a person does with a page, and what one sees of it.
//!
//! `chromedriver` is a child process with a port of its own on loopback; it starts the browser, and both end with the handle.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{eventually, http, ports};

/// The programs that are needed, with the names of their packages in Debian.
pub const PROGRAMS: [(&str, &str); 2] = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];

/// How long the driver may take to answer its first question, ten times what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// The member that names an element in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no letters, as WebDriver writes them.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// Leaves for the next element.
    Tab,
    /// Follows a link, presses a button.
    Enter,
    /// One row down.
    Down,
    /// To the end.
    End,
    /// Any letter.
    Letter(char),
}

impl Key {
    const fn code(self) -> char {
        match self {
            Self::Tab => '\u{e004}',
            Self::Enter => '\u{e007}',
            Self::Down => '\u{e015}',
            Self::End => '\u{e010}',
            Self::Letter(letter) => letter,
        }
    }
}

/// One open browser window.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    session: String,
}

/// The process of the driver; the browser is in its process group.
#[derive(Debug)]
struct Driver {
    port: u16,
    group: Option<Pid>,
    _child: Child,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Also the browser, should the driver have had no time to end it. Nothing is left to kill after a good end.
        if let Some(group) = self.group {
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
    }
}

impl Driver {
    async fn start() -> Result<Self> {
        let port = ports::free_port();
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start chromedriver: `cargo xtask test` installs it, or says what to install")?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let driver = Self {
            port,
            group: pid.and_then(Pid::from_raw),
            _child: child,
        };
        eventually("chromedriver answers", PATIENCE, async || {
            driver.call(Method::GET, "/status", None).await.is_ok()
        })
        .await;
        Ok(driver)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let answer = http::request(method, &url, body).await?;
        let mut json = answer.json()?;
        if answer.status != 200 {
            bail!("{path}: {}", json["value"]["message"]);
        }
        Ok(json["value"].take())
    }
}

impl Browser {
    /// Opens an empty window of `width` times `height` pixels.
    ///
    /// # Errors
    /// Chromium or its driver is not installed, or does not start.
    pub async fn open(width: u32, height: u32) -> Result<Self> {
        let driver = Driver::start().await?;
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--hide-scrollbars",
                format!("--window-size={width},{height}"),
            ]},
        }}});
        let made = driver.call(Method::POST, "/session", Some(wanted)).await?;
        let session = made["sessionId"].as_str().context("a session")?.to_owned();
        Ok(Self { driver, session })
    }

    /// Goes to an address and waits until the page is loaded.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn go(&self, url: &str) -> Result<()> {
        self.post("/url", json!({"url": url})).await.map(drop)
    }

    /// Goes back in the history.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn back(&self) -> Result<()> {
        self.post("/back", json!({})).await.map(drop)
    }

    /// The present address.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn address(&self) -> Result<String> {
        let url = self.call(Method::GET, "/url", None).await?;
        Ok(url.as_str().unwrap_or_default().to_owned())
    }

    /// What a function body in JavaScript returns for these arguments.
    ///
    /// # Errors
    /// It throws.
    pub async fn script(&self, body: &str, arguments: Value) -> Result<Value> {
        self.post("/execute/sync", json!({"script": body, "args": arguments}))
            .await
    }

    /// Clicks on the first element that a CSS selector finds.
    ///
    /// # Errors
    /// There is none, or it cannot be clicked.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let found = json!({"using": "css selector", "value": selector});
        let element = self.post("/element", found).await?;
        let element = element[ELEMENT].as_str().context("an element")?;
        self.post(&format!("/element/{element}/click"), json!({}))
            .await
            .map(drop)
    }

    /// Presses and releases keys, one after the other, wherever the focus is.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn press(&self, keys: &[Key]) -> Result<()> {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.code()})))
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.post("/actions", json!({"actions": [keyboard]}))
            .await
            .map(drop)
    }

    /// Types a text.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn write(&self, text: &str) -> Result<()> {
        self.press(&text.chars().map(Key::Letter).collect::<Vec<_>>())
            .await
    }

    /// Lets the system prefer a dark or a light page.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn prefer_dark(&self, is_dark: bool) -> Result<()> {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features}))
            .await
    }

    /// Lets a script run in every page before any of its own, which no policy of the page forbids.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn before_each_page(&self, script: &str) -> Result<()> {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}))
            .await
    }

    /// What the pages have written to the console since the last time, errors of loading included.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn console(&self) -> Result<Vec<String>> {
        let log = self.post("/se/log", json!({"type": "browser"})).await?;
        let entries = log.as_array().context("a log")?.iter();
        Ok(entries.map(ToString::to_string).collect())
    }

    /// Writes what is seen into a PNG file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        let picture = self.call(Method::GET, "/screenshot", None).await?;
        let bytes = STANDARD.decode(picture.as_str().context("a picture")?)?;
        std::fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
    }

    /// Ends the browser and its driver.
    ///
    /// # Errors
    /// The browser is gone already.
    pub async fn close(self) -> Result<()> {
        self.call(Method::DELETE, "", None).await.map(drop)
    }

    async fn command(&self, name: &str, parameters: Value) -> Result<()> {
        self.post("/goog/cdp/execute", json!({"cmd": name, "params": parameters}))
            .await
            .map(drop)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let path = format!("/session/{}{path}", self.session);
        self.driver.call(method, &path, body).await
    }
}
