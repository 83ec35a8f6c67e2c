//! The page at `/`: files that are part of the binary, so that it works without the internet and without a build step.
//!
//! It only shows what `/api/v1` tells. Its policy lets no script run and no byte come that is not from kmonitor itself: names
//! and reasons hold what somebody wrote into ZooKeeper. Browsers keep the files and ask each time whether they have changed,
//! so that a new kmonitor never meets the page of an old one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

/// What the page may do: load from here, nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// One file.
#[derive(Clone, Copy, Debug)]
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file below `page/`, at `/page/`.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        File {
            path: concat!("/page/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!("page/", $name)),
        }
    };
}

const FILES: [File; 15] = [
    File {
        path: "/",
        ..file!("index.html", HTML)
    },
    file!("icon.svg", "image/svg+xml"),
    file!("style.css", CSS),
    file!("address.js", SCRIPT),
    file!("app.js", SCRIPT),
    file!("cards.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("columns.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("feed.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("order.js", SCRIPT),
    file!("spark.js", SCRIPT),
    file!("table.js", SCRIPT),
    file!("theme.js", SCRIPT),
];

/// The routes of the page.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = tag(file.bytes);
        router.route(
            file.path,
            get(async move |headers: HeaderMap| answer(&file, &tag, &headers)),
        )
    })
}

/// The ETag of these bytes.
fn tag(bytes: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()))
        .expect("digits in quotation marks are ASCII")
}

/// The file, or that what the browser has is still right.
fn answer(file: &File, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    let is_known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes());
    let mut response = Response::default();
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(file.bytes);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    fn page() -> &'static str {
        text(&FILES[0])
    }

    /// What stands between `before` and the next `"`, wherever it occurs.
    fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let after = text.split(before).skip(1);
        after.map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn everything_that_the_page_loads_is_in_the_binary() {
        let is_here = |path: &str| FILES.iter().any(|file| file.path == path);
        let loaded = [quoted(page(), "src=\""), quoted(page(), "href=\"page/")].concat();
        assert!(loaded.len() >= 4, "{loaded:?}");
        for name in loaded {
            let name = name.trim_start_matches("page/");
            assert!(is_here(&format!("/page/{name}")), "{name}");
        }
        let mut imports = 0;
        for script in FILES.iter().filter(|file| file.kind == SCRIPT) {
            for name in quoted(text(script), "from \"./") {
                assert!(is_here(&format!("/page/{name}")), "{name} in {}", script.path);
                imports += 1;
            }
        }
        assert!(imports > 10);
    }

    #[test]
    fn nothing_is_from_elsewhere_inline_or_read_as_html() {
        for file in &FILES {
            let known = ["http://www.w3.org/2000/svg"];
            let text = known
                .iter()
                .fold(text(file).to_owned(), |text, one| text.replace(one, ""));
            for forbidden in [
                "://",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "DOMParser",
                "eval(",
                " style=\"",
                "<style",
                " onclick=",
                " onload=",
            ] {
                assert!(!text.contains(forbidden), "{forbidden} in {}", file.path);
            }
        }
        let scripts = page().matches("<script").count();
        assert_eq!(scripts, page().matches("></script>").count());
    }

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let file = &FILES[0];
        let tag = tag(file.bytes);
        assert_ne!(tag, self::tag(FILES[1].bytes));
        let fresh = answer(file, &tag, &HeaderMap::new());
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(fresh.headers()[header::CONTENT_TYPE], HTML);
        assert_eq!(fresh.headers()[header::CACHE_CONTROL], "no-cache");
        for (has, status) in [
            (tag.to_str().unwrap().to_owned(), StatusCode::NOT_MODIFIED),
            (
                format!("\"0\", W/{}", tag.to_str().unwrap()),
                StatusCode::NOT_MODIFIED,
            ),
            ("\"0\"".to_owned(), StatusCode::OK),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::try_from(has).unwrap());
            assert_eq!(answer(file, &tag, &headers).status(), status);
        }
    }
}
