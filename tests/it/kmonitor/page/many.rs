//! A module of 10,000 partitions on the page. The numbers are made in the browser, out of those of one real partition.

use ktests::browser::Key;
use ktests::eventually;
use serde_json::json;

use super::one_cluster;
use super::sight::Sight;
use crate::kmonitor::world::SOON;

/// Makes 10,000 partitions of the first one in what is told of a module; their lags are 0 to 9,999, in no order.
const MANY: &str = "const real = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        if (!path.startsWith('api/v1/modules/')) return answer;
        const told = await answer.json();
        const one = told.partitions[0];
        told.partitions = Array.from({length: 10000}, (_, n) => ({...one, partition: n, lag: (n * 7919) % 10000}));
        return new Response(JSON.stringify(told));
    };";

/// Scrolls through the whole table in 60 frames; gives the longest frame in milliseconds, and the most rows there were.
const SCROLL: &str = "return (async () => {
        const frame = () => new Promise(requestAnimationFrame);
        let [longest, most, last] = [0, 0, await frame()];
        for (let step = 0; step <= 60; step += 1) {
            scrollTo(0, (document.documentElement.scrollHeight * step) / 60);
            const now = await frame();
            longest = Math.max(longest, now - last);
            last = now;
            most = Math.max(most, document.querySelectorAll('#partitions tbody tr').length);
        }
        return [longest, most];
    })();";

#[tokio::test]
async fn ten_thousand_partitions_are_as_few_elements_as_can_be_seen() {
    let watched = one_cluster("page-many", &[("big", 3)]).await;
    let sight = Sight::open("about:blank").await;
    sight.browser.before_each_page(MANY).await.unwrap();
    let big = "/?cluster=c&module=big&sort=-lag";
    sight.browser.go(&watched.url(big)).await.unwrap();
    sight.shows("#found", "10,000 partitions").await;
    let first = &sight.rows("partitions").await[0];
    assert_eq!(first["lag"], "9,999");
    let rows = "return document.getElementById('partitions').getAttribute('aria-rowcount')";
    assert_eq!(
        sight.browser.script(rows, json!([])).await.unwrap(),
        json!("10001")
    );

    let scrolled = sight.browser.script(SCROLL, json!([])).await.unwrap();
    eprintln!(
        "the longest of 60 frames took {} ms, with {} rows",
        scrolled[0], scrolled[1]
    );
    assert!(scrolled[1].as_u64().unwrap() < 100, "{scrolled}");

    let focus = "document.querySelector('#partitions tbody tr[tabindex=\"0\"]')?.focus();
        return document.activeElement.localName";
    sight.browser.script("scrollTo(0, 0)", json!([])).await.unwrap();
    eventually("the first row has the focus", SOON, async || {
        sight.browser.script(focus, json!([])).await.unwrap() == "tr"
    })
    .await;
    sight.browser.press(&[Key::End]).await.unwrap();
    let lag = "return document.activeElement.querySelector('.c-lag .number').textContent";
    assert_eq!(sight.browser.script(lag, json!([])).await.unwrap(), json!("0"));

    sight.browser.press(&[Key::Letter('/')]).await.unwrap();
    sight.browser.write("/777").await.unwrap();
    // 777 and 7770 to 7779.
    sight.shows("#found", "11 of 10,000 partitions").await;
    assert_eq!(sight.quiet_end().await, Vec::<String>::new());
    watched.stop().await;
}
