//! E1, E2: requests that can be read in two ways, and the one right answer to each.

use crate::world::{Wish, World, status};

/// What must come of some bytes: the statuses answered, in order (empty: the connection ends
/// without an answer), and how many whole requests an upstream may see.
struct Case(&'static str, Vec<u8>, &'static [u16], usize);

const HOST: &str = "Host: shop.example\r\n";
const END: &str = "GET /end HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

fn head(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\n{HOST}{fields}\r\n").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /p HTTP/1.1\r\n{HOST}{fields}\r\n{body}").into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    head(&format!("GET {path} HTTP/1.1"), "Connection: close\r\n")
}

fn lengths() -> Vec<Case> {
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    vec![
        Case(
            "CL.TE",
            post("Content-Length: 60\r\nTransfer-Encoding: chunked\r\n", smuggled),
            &[400],
            0,
        ),
        Case(
            "TE.CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", smuggled),
            &[400],
            0,
        ),
        Case(
            "CL twice, same",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            &[400],
            0,
        ),
        Case(
            "CL twice, other",
            post("Content-Length: 5\r\nContent-Length: 0\r\n", "hello"),
            &[400],
            0,
        ),
        Case("CL list", post("Content-Length: 5, 5\r\n", "hello"), &[400], 0),
        Case("CL plus", post("Content-Length: +5\r\n", "hello"), &[400], 0),
        Case("CL minus", post("Content-Length: -5\r\n", "hello"), &[400], 0),
        Case("CL hex", post("Content-Length: 0x5\r\n", "hello"), &[400], 0),
        Case("CL exponent", post("Content-Length: 5e0\r\n", "hello"), &[400], 0),
        Case("CL underscore", post("Content-Length: 0_5\r\n", "hello"), &[400], 0),
        Case("CL inner space", post("Content-Length: 5 5\r\n", "hello"), &[400], 0),
        Case("CL empty", post("Content-Length:\r\n", "hello"), &[400], 0),
        Case(
            "CL too large a number",
            post("Content-Length: 99999999999999999999\r\n", ""),
            &[400],
            0,
        ),
        Case("CL in quotes", post("Content-Length: \"5\"\r\n", "hello"), &[400], 0),
        Case(
            "CL with optional space",
            post("Content-Length: \t5 \r\nConnection: close\r\n", "hello"),
            &[200],
            1,
        ),
        Case(
            "CL in GET",
            [
                head("GET /p HTTP/1.1", "Content-Length: 5\r\nConnection: close\r\n"),
                b"hello".to_vec(),
            ]
            .concat(),
            &[200],
            1,
        ),
        Case("no length", post("Connection: close\r\n", ""), &[200], 1),
        Case(
            "body that looks like a request",
            [
                post("Content-Length: 37\r\n", "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n")
                    .as_slice(),
                END.as_bytes(),
            ]
            .concat(),
            &[200, 200],
            2,
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let te = |value: &str, status| {
        Case("TE value", post(&format!("Transfer-Encoding: {value}\r\n"), chunks), status, 0)
    };
    let mut cases: Vec<Case> = [
        "xchunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "gzip, chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ", chunked",
        "chun ked",
        "",
    ]
    .map(|value| te(value, &[501]))
    .into();
    cases.extend([
        te("\x0bchunked", &[400]),
        te("chunked\x00", &[400]),
        Case(
            "TE twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks),
            &[501],
            0,
        ),
        Case(
            "TE and identity",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks),
            &[501],
            0,
        ),
        Case(
            "TE space before colon",
            post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "hello"),
            &[400],
            0,
        ),
        Case("TE folded", post("Transfer-Encoding:\r\n chunked\r\n", chunks), &[501], 0),
        Case(
            "TE behind a bare LF",
            post("X: a\nTransfer-Encoding: chunked\r\n", chunks),
            &[400],
            0,
        ),
        Case(
            "TE behind a bare CR",
            post("X: a\rTransfer-Encoding: chunked\r\n", chunks),
            &[400],
            0,
        ),
        Case(
            "TE in HTTP/1.0",
            [head("POST /p HTTP/1.0", "Transfer-Encoding: chunked\r\n"), chunks.into()].concat(),
            &[400],
            0,
        ),
        Case(
            "TE with an underscore is no TE",
            post(
                "Transfer_Encoding: chunked\r\nContent-Length: 5\r\nConnection: close\r\n",
                "hello",
            ),
            &[200],
            1,
        ),
        Case(
            "TE in capitals",
            post("TRANSFER-ENCODING: CHUNKED\r\nConnection: close\r\n", chunks),
            &[200],
            1,
        ),
        Case(
            "chunk extension",
            post(
                "Transfer-Encoding: chunked\r\nConnection: close\r\n",
                "5;a=b\r\nhello\r\n0\r\n\r\n",
            ),
            &[200],
            1,
        ),
        Case(
            "chunks, then a request",
            [post("Transfer-Encoding: chunked\r\n", chunks).as_slice(), END.as_bytes()].concat(),
            &[200, 200],
            2,
        ),
        Case(
            "trailer",
            post(
                "Transfer-Encoding: chunked\r\nConnection: close\r\n",
                "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            ),
            &[200],
            1,
        ),
    ]);
    for body in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "5;a\x01\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        "5\r\nhello\r\n0\r\nHost: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Stagedoor-Account: usr\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
    ] {
        cases.push(Case("chunk", post("Transfer-Encoding: chunked\r\n", body), &[], 0));
    }
    cases
}

fn lines() -> Vec<Case> {
    let bare = |text: &str, status| Case("line", text.as_bytes().to_vec(), status, 0);
    vec![
        bare("GET / HTTP/1.1\nHost: shop.example\n\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: shop.example\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nX: \0\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nX\0: a\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nX: \x7f\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nno colon\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\n: empty\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nX(: a\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\n X: folded\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: shop.example\r\nX: a\r\n\tfolded\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\n\r\n", &[400]),
        bare("GET / HTTP/1.0\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1\r\nHost:\r\n\r\n", &[400]),
        bare("GET http://other.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET ftp://shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[405]),
        bare("TRACE / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[405]),
        bare("get / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[405]),
        bare("G\tT / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET  / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/1.1 \r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET\t/\tHTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET / HTTP/2.0\r\nHost: shop.example\r\n\r\n", &[505]),
        bare("GET / HTTP/1.2\r\nHost: shop.example\r\n\r\n", &[505]),
        bare("GET / http/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("GET /\r\n\r\n", &[400]),
        bare("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]),
        bare("\r\n\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        bare("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\r\n", &[400]),
        Case("empty line first", [b"\r\n".as_slice(), END.as_bytes()].concat(), &[200], 1),
        Case("absolute-form", b"GET http://Shop.Example/a?b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".to_vec(), &[200], 1),
        Case("two requests", [head("GET /1 HTTP/1.1", "").as_slice(), END.as_bytes()].concat(), &[200, 200], 2),
        Case("a good one, then a bad one", [head("GET /1 HTTP/1.1", "").as_slice(), b"GET / HTTP/1.1\nHost: a\n\n"].concat(), &[200, 400], 1),
        Case("nothing behind a bad one", [b"GET / HTTP/1.1\r\n\r\n".as_slice(), END.as_bytes()].concat(), &[400], 0),
    ]
}

fn meaning() -> Vec<Case> {
    let fields = |fields: &str, status| Case("field", head("GET / HTTP/1.1", fields), status, 0);
    let mut cases = vec![
        fields("Expect: 200-ok\r\n", &[417]),
        fields("Connection: Host\r\n", &[400]),
        fields("Connection: close, Cookie\r\n", &[400]),
        fields("Connection: X-Stagedoor-Account\r\n", &[400]),
        fields("Connection: X-Forwarded-For\r\n", &[400]),
        Case(
            "h2c is not spoken",
            head(
                "GET / HTTP/1.1",
                "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            &[200],
            1,
        ),
    ];
    for path in [
        "/a/../b",
        "/..",
        "/a/%2e%2e/b",
        "/a/.%2e/",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "//a",
        "/a//b",
        "/%00",
        "/%0d%0aX:1",
        "/%zz",
        "/%",
        "/#a",
        "/%c0%af",
        "/a%252fb",
        "/;/x",
        "/a/..;/b",
    ] {
        cases.push(Case("path", get(path), &[400], 0));
    }
    for path in ["/caf%C3%A9", "/a+b;c=d?x=%2f..%2f", "/a..b/...", "/a?q=//x"] {
        cases.push(Case("path", get(path), &[200], 1));
    }
    cases
}

fn sizes() -> Vec<Case> {
    let long = "x".repeat(40_000);
    vec![
        Case("long field", head("GET / HTTP/1.1", &format!("X: {long}\r\n")), &[431], 0),
        Case(
            "endless head",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}").into_bytes(),
            &[431],
            0,
        ),
        Case("many fields", head("GET / HTTP/1.1", &"X: 1\r\n".repeat(97)), &[431], 0),
        Case("long target", get(&format!("/{}", "x".repeat(9_000))), &[414], 0),
        Case("long body", post(&format!("Content-Length: {}\r\n", 100_001), ""), &[413], 0),
    ]
}

fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

#[tokio::test]
async fn each_request_has_one_reading() {
    let world = World::new().await;
    let cases: Vec<Case> =
        [lengths(), encodings(), lines(), meaning(), sizes()].into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for Case(name, bytes, wanted, requests) in &cases {
        world.log.lock().unwrap().clear();
        let answer = world.raw(bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let given = statuses(&answer);
        let good = if wanted.is_empty() { !given.contains(&200) } else { given == *wanted };
        let seen = world.seen();
        let smuggled = seen.iter().any(|one| one.target.contains("smuggled"));
        if !good || seen.len() != *requests || smuggled {
            wrong.push(format!("{name}: {shown:?} gave {given:?}, the upstream saw {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} raw requests answered as they must be", cases.len());
}

/// The same, in pieces of one byte each: a cut changes nothing.
#[tokio::test]
async fn cuts_change_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let world = World::new().await;
    for (bytes, wanted) in [
        (
            post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            200,
        ),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "hello"), 400),
        (b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), 400),
    ] {
        let mut stream = world.connect().await;
        stream.set_nodelay(true).unwrap();
        for byte in bytes {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let answer = crate::world::read_to_end(&mut stream).await;
        assert_eq!(status(&answer), wanted, "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_and_is_counted() {
    let world = World::new().await;
    let answer = world.raw(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("\"code\":\"hygiene.host_missing\""), "{answer}");
    assert_eq!(world.observed("hygiene.host_missing"), 1);
}

#[tokio::test]
async fn a_person_is_shown_a_page() {
    let world = World::new().await;
    let answer = world.get("/gone", "Accept: text/html,*/*\r\n").await;
    assert_eq!(status(&answer), 502);
    assert!(answer.contains("content-type: text/html; charset=utf-8"), "{answer}");
    assert!(answer.contains("<h1>Bad Gateway</h1>"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
}

#[tokio::test]
async fn what_is_matched_is_what_is_forwarded() {
    let world = World::new().await;
    // E2: every way to write a guarded path is guarded.
    for path in ["/orders", "/ORDERS", "/%6frders", "/orders;x=1", "/orders/", "/Orders/1?a=b"] {
        let answer = world.get(path, "").await;
        assert_eq!(status(&answer), 401, "{path}: {answer}");
    }
    assert!(world.seen().is_empty());
    let answer = world.get("/caf%C3%A9/%7Ea?b=%20c", "").await;
    assert_eq!(status(&answer), 200);
    assert_eq!(world.seen()[0].target, "/caf%C3%A9/%7Ea?b=%20c");
}

#[tokio::test]
async fn names_with_underscores_do_not_reach_the_upstream() {
    let world = World::with(Wish::default()).await;
    world.get("/", "X_Stagedoor_Account: usr\r\nX_Y: 1\r\nX-Y: 2\r\n").await;
    let seen = world.seen();
    assert_eq!(seen[0].header("x-y"), Some("2"));
    assert!(seen[0].headers.keys().all(|name| !name.as_str().contains('_')));
}
