//! Answers to other proxies, and nginx as one of them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use edge::{ForwardAuth, identity};
use kernel::Timestamp;
use tokio::net::TcpListener;

use crate::world::{Wish, World, header_key, status};

fn asked(proxies: &[&str], secret: Option<&[u8]>) -> Wish {
    let forward_auth = ForwardAuth {
        path: "/-/ask".into(),
        proxies: proxies.iter().map(|net| net.parse().unwrap()).collect(),
        secret: secret.map(|secret| secret.to_vec().into()),
    };
    Wish { trusted: vec!["127.0.0.1"], forward_auth: Some(forward_auth), ..Wish::default() }
}

#[tokio::test]
async fn a_question_passes_the_same_stack() {
    let world = World::with(asked(&["127.0.0.1"], None)).await;
    let token = world.token(world.session(), "customer", &[]);
    let cookie = format!("Cookie: __Host-stagedoor_token={token}\r\n");
    let ask = |method: &str, uri: &str| {
        format!(
            "X-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {uri}\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-For: 203.0.113.5\r\n"
        )
    };
    let yes = world.get("/-/ask", &format!("{}{cookie}", ask("POST", "/orders/1?a=b"))).await;
    assert_eq!(status(&yes), 204, "{yes}");
    assert!(yes.contains("x-stagedoor-unchecked: body,schema"), "{yes}");
    let mut headers = http::HeaderMap::new();
    for line in yes.lines().skip(1) {
        if let Some((name, value)) = line.split_once(": ") {
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
    }
    let now = Timestamp::from_seconds(crate::world::START_S);
    let told = identity::verify(&header_key(), "POST", "/orders/1?a=b", &headers, now);
    assert!(told.unwrap().is_some());
    assert_eq!(status(&world.get("/-/ask", &ask("GET", "/orders")).await), 401);
    assert_eq!(status(&world.get("/-/ask", &ask("GET", "/a/../orders")).await), 400);
    assert_eq!(
        status(
            &world.get("/-/ask", &format!("{}Accept: text/html\r\n", ask("GET", "/orders"))).await
        ),
        303
    );
    assert_eq!(status(&world.get("/-/ask", &ask("GET", "/")).await), 204);
    assert_eq!(status(&world.get("/-/ask", "").await), 400);
    // nginx understands two refusals only; the true one is told beside.
    let nginx = |uri: &str| {
        format!("X-Original-Method: GET\r\nX-Original-URI: {uri}\r\nAccept: text/html\r\n")
    };
    let answer = world.get("/-/ask", &nginx("/orders")).await;
    assert_eq!(status(&answer), 401, "{answer}");
    assert!(answer.contains("x-stagedoor-refused: 303"), "{answer}");
    assert_eq!(status(&world.get("/-/ask", &nginx("/a/../b")).await), 403);
    assert!(world.seen().is_empty(), "nothing is forwarded");
}

#[tokio::test]
async fn strangers_are_not_answered() {
    let ask = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\n";
    let world = World::with(asked(&["192.0.2.1"], None)).await;
    assert_eq!(status(&world.get("/-/ask", ask).await), 403);
    assert_eq!(world.observed("edge.forward_auth_stranger"), 1);
    let world = World::with(asked(&["127.0.0.1"], Some(b"a shared secret"))).await;
    assert_eq!(status(&world.get("/-/ask", ask).await), 403);
    let secret = format!("{ask}X-Stagedoor-Forward-Secret: a shared secret\r\n");
    assert_eq!(status(&world.get("/-/ask", &secret).await), 204);
}

/// Ends nginx with the test.
struct Nginx(std::process::Child, std::path::PathBuf);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[tokio::test]
async fn nginx_asks_and_obeys() {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let Some(nginx) = found.iter().find(|path| std::path::Path::new(path).exists()) else {
        #[expect(
            clippy::disallowed_methods,
            reason = "whether this is CI is told by the environment"
        )]
        let ci = std::env::var("CI").is_ok();
        assert!(!ci, "nginx is not installed, and in CI nothing may be left out");
        eprintln!("LEFT OUT: nginx is not installed, so forward-auth was not tried with it");
        return;
    };
    let world = World::with(asked(&["127.0.0.1"], None)).await;
    // A free port: taken, told, and given to nginx.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = std::env::temp_dir().join(format!("edge-nginx-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let dir = folder.display();
    let upstream = world.hub.snapshot().routes.upstreams[0].address.clone();
    let edge = world.at;
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {dir}/{name};"))
        .join(" ");
    let conf = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error;
        events {{}}
        http {{ access_log off; {temp}
          server {{ listen 127.0.0.1:{port};
            location / {{
              auth_request /-/ask;
              auth_request_set $account $upstream_http_x_stagedoor_account;
              proxy_set_header X-Stagedoor-Account $account;
              proxy_pass {upstream};
            }}
            location = /-/ask {{ internal;
              proxy_pass http://{edge}/-/ask;
              proxy_pass_request_body off;
              proxy_set_header Content-Length \"\";
              proxy_set_header Host $http_host;
              proxy_set_header X-Original-URI $request_uri;
              proxy_set_header X-Original-Method $request_method;
            }} }} }}"
    );
    std::fs::File::create(folder.join("conf")).unwrap().write_all(conf.as_bytes()).unwrap();
    let child = Command::new(nginx)
        .args(["-p", &dir.to_string(), "-c", &folder.join("conf").display().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Nginx(child, folder.clone());
    let through = |path: &'static str, headers: String| async move {
        let started = tokio::time::timeout(crate::world::PATIENCE, async {
            loop {
                if let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                    return stream;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        let mut stream = started.await.expect("nginx starts");
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{headers}\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, ask.as_bytes()).await.unwrap();
        crate::world::read_to_end(&mut stream).await
    };
    let session = world.session();
    let token = world.token(session, "customer", &[]);
    assert_eq!(status(&through("/orders", String::new()).await), 401);
    assert_eq!(
        status(&through("/staff", format!("Cookie: __Host-stagedoor_token={token}\r\n")).await),
        403
    );
    assert!(world.seen().is_empty());
    let answer = through("/orders", format!("Cookie: __Host-stagedoor_token={token}\r\n")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(world.seen()[0].header("x-stagedoor-account"), Some(session.0.to_string().as_str()));
}
