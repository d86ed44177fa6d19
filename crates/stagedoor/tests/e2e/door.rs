//! The running door: what a browser sees of a refusal, and a certificate that is renewed.

use std::path::Path;
use std::process::Command;

use crate::program::{Serving, Shop};

#[test]
fn what_the_door_refuses_looks_like_the_shop() {
    let shop = Shop::init();
    let serving = shop.serve();
    let (status, page) = serving.curl(&shop, &["-H", "Accept: text/html"], "/");
    assert_eq!(status, 502, "nobody listens behind it: {page}");
    assert!(page.contains("/assets/stagedoor.") && page.contains("cannot be reached"), "{page}");
    let sheet = page.split('"').find(|part| part.ends_with(".css")).unwrap().to_owned();
    assert_eq!(serving.curl(&shop, &[], &sheet).0, 200, "{sheet}");
    let (status, document) = serving.curl(&shop, &[], "/");
    assert_eq!(status, 502);
    assert!(document.contains("\"code\":\"edge.upstream_gone\""), "{document}");
    assert_eq!(serving.stop(), Some(0));
}

/// Whether the door shows a certificate that this file vouches for.
fn shows(serving: &Serving, certificate: &Path) -> bool {
    let port = serving.door.rsplit_once(':').unwrap().1;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-o", "/dev/null", "--cacert"]).arg(certificate);
    let output = curl.arg(format!("https://localhost:{port}/auth/sign-in")).output().unwrap();
    output.status.success()
}

#[test]
fn a_renewed_certificate_is_shown_after_sighup() {
    let shop = Shop::init();
    let serving = shop.serve();
    let (chain, key) =
        (shop.path().join("var/self-signed.crt"), shop.path().join("var/self-signed.key"));
    let old = shop.path().join("old.crt");
    std::fs::copy(&chain, &old).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(shows(&serving, &old) && !shows(&serving, &chain), "nobody has looked yet");
    let sent = Command::new("kill").args(["-HUP", &serving.id().to_string()]).status().unwrap();
    assert!(sent.success());
    // Each look is a program of its own, which takes its time.
    assert!((0..200).any(|_| shows(&serving, &chain)), "the renewed one is not shown");
    assert!(!shows(&serving, &old));
    assert_eq!(serving.stop(), Some(0), "it goes on after the signal");
}
