//! The report in a real browser. Chromium prints the document as it stands after the page's scripts; a script
//! of the test's own, put behind them, does what a reader would do.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::test_night::night_report;

/// The page of the fixture's night, with `more` behind its own scripts.
fn page(more: &str) -> String {
    let files = kshot::report::files(&night_report()).unwrap();
    let page = files.into_iter().find(|(name, _)| *name == "index.html").unwrap().1;
    assert!(page.contains("</body>"));
    page.replace("</body>", &format!("<script>{more}</script></body>"))
}

/// The document after its scripts, in a window of this size. `place` is what stands behind the address.
fn dom(page: &str, size: (u32, u32), place: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.html");
    fs::write(&path, page).unwrap();
    let output = Command::new("timeout")
        .args([&Duration::from_secs(120).as_secs().to_string(), "chromium", "--headless", "--no-sandbox"])
        .args(["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(format!("file://{}{place}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("</html>"), "{dom}\n{}", String::from_utf8_lossy(&output.stderr));
    dom
}

const DESK: (u32, u32) = (1280, 900);

/// What the test's script found, written into the document as `<output id=found>`.
fn found(dom: &str) -> String {
    let rest = dom.split("<output id=\"found\">").nth(1).unwrap_or_else(|| panic!("nothing found in {dom}"));
    rest.split("</output>").next().unwrap().to_owned()
}

const TELL: &str = "const tell = (text) => { const o = document.createElement('output'); o.id = 'found'; \
                    o.textContent = text; document.body.append(o); };";

pub(crate) fn filters() {
    let script = format!(
        "{TELL} const shown = () => [...document.querySelectorAll('details.pair')].filter((p) => !p.hidden).length;
         const type = (text) => {{ const w = document.getElementById('words'); w.value = text;
           w.dispatchEvent(new Event('input', {{ bubbles: true }})); }};
         const all = shown(); type('leaf fixed'); const two = shown(); type('no such'); const none = shown(); type('');
         document.getElementById('trouble').click();
         tell([all, two, none, shown(), document.getElementById('count').textContent].join(' | '));"
    );
    assert_eq!(found(&dom(&page(&script), DESK, "")), "7 | 1 | 0 | 5 | 5 of 7 pairs");
}

pub(crate) fn reads_without_scripts() {
    let page = page("").replace("script-src 'unsafe-inline'", "script-src 'none'");
    let dom = dom(&page, DESK, "");
    assert!(dom.contains("1 new drift, 1 unstable, 3 could not tell, 2 of 7 match"));
    assert!(!dom.contains("of 7 pairs"), "its script has run");
    assert!(dom.contains("<form class=\"filter\" hidden"), "what does nothing is not shown");
    let pairs = dom.matches("<details class=\"pair\"").count();
    assert_eq!((pairs, dom.matches("hidden=\"\"").count()), (7, 1), "nothing to read is hidden");
}

pub(crate) fn links_open() {
    let anchor = "tunsetiff.leaf--mips64-6.1-fixed";
    let script = format!(
        "{TELL} const one = document.getElementById('{anchor}');
         tell(one.open + ' ' + [...document.querySelectorAll('a[href^=\"#\"]')]
           .every((a) => a.hash.length < 2 || document.getElementById(a.hash.slice(1))));"
    );
    assert_eq!(found(&dom(&page(&script), DESK, "")), "false true");
    assert_eq!(found(&dom(&page(&script), DESK, &format!("#{anchor}"))), "true true");
}

pub(crate) fn runs_nothing_hostile() {
    let script = format!(
        "{TELL} tell([document.images.length, document.scripts.length,
           document.querySelectorAll('[onload],[onerror],iframe,object,base').length].join(' '));"
    );
    // Two scripts: the page's own and this one.
    assert_eq!(found(&dom(&page(&script), DESK, "")), "0 2 0");
}

/// Nothing but what scrolls by itself is wider than the window.
pub(crate) fn fits_a_phone() {
    let script = format!(
        "{TELL} for (const d of document.querySelectorAll('details')) d.open = true;
         const wide = document.documentElement.clientWidth;
         const out = [...document.body.querySelectorAll('*')].filter((e) => !e.closest('.scroll, figure, .skip, .said')
           && e.getBoundingClientRect().right > wide + 1).map((e) => e.tagName + '.' + e.className);
         tell(wide + ' ' + (document.documentElement.scrollWidth <= wide) + ' ' + out.slice(0, 5).join(','));"
    );
    let told = found(&dom(&page(&script), (500, 900), ""));
    assert_eq!(told, "500 true ", "{told}");
}
