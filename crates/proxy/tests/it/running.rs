//! Many at once, figures, and an end in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{ANY, Bench, app, echo, exchange, get, read_until, text};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_at_once() {
    let bench = Bench::new(echo().await).await;
    let to = bench.inbound();
    let clients: Vec<_> = (0..200)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(to).await.unwrap();
                for round in 0..5 {
                    let path = format!("/{number}x/{round}y");
                    let request = format!("POST {path} HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\nend");
                    client.write_all(request.as_bytes()).await.unwrap();
                    let answer = read_until(&mut client, b"\nend").await;
                    assert!(String::from_utf8_lossy(&answer).contains(&format!("POST {path} ")));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let spans = bench.spans(2_000).await;
    assert_eq!(spans.len(), 2_000);
    assert!(spans.iter().all(|span| span.status.code == 0));
    let stats = bench.running().stats();
    assert_eq!((&stats["requests"]["inbound"], &stats["requests"]["in_flight"]), (&1_000.into(), &0.into()));
    let idle = stats["backend_connections"]["idle_http1"].as_u64().unwrap();
    assert!((1..=200).contains(&idle), "{idle} connections are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_figures_are_on_a_listener_of_their_own() {
    let bench = Bench::with(echo().await, |config| {
        config.admin = Some(ANY);
        config.figures = Some(Arc::new(|| serde_json::json!({ "exported": 7 })));
    })
    .await;
    get(bench.inbound(), "/healthz", "").await;
    let admin = bench.running().addresses().admin.unwrap();
    assert!(get(admin, "/healthz", "").await.contains("\"ok\""));
    let stats = get(admin, "/stats", "").await;
    let stats: serde_json::Value = serde_json::from_str(stats.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&stats["requests"]["inbound"], &stats["spans"]["exported"]), (&1.into(), &7.into()));
    assert!(get(admin, "/other", "").await.starts_with("HTTP/1.1 404"));
    assert!(exchange(admin, b"POST /stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.contains(" 405 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_requests_and_breaks_off_what_takes_too_long() {
    for (drain, finishes) in [(Duration::from_secs(30), true), (Duration::from_millis(200), false)] {
        let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, told) = (Arc::clone(&go), Arc::clone(&began));
        let slow = app(move |_| {
            let (wait, told) = (Arc::clone(&wait), Arc::clone(&told));
            async move {
                told.notify_one();
                wait.notified().await;
                Response::new(Full::new(Bytes::from_static(b"done")))
            }
        });
        let mut bench = Bench::with(slow.await, |config| config.drain_time = drain).await;
        let to = bench.inbound();
        let client = tokio::spawn(async move { exchange(to, b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await });
        began.notified().await;
        let begun = Instant::now();
        let ending = tokio::spawn(bench.proxy.take().unwrap().shutdown());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(TcpStream::connect(to).await.is_err(), "no new connections are taken");
        if finishes {
            go.notify_one();
        }
        assert_eq!(ending.await.unwrap(), finishes);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(client.await.unwrap().ends_with("done"), finishes);
        let spans = bench.spans(2).await;
        let kind = text(&spans[0], "error.type");
        assert_eq!(kind == "proxy_ended", !finishes, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said() {
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let start = |set: fn(&mut tracewell_proxy::Config)| {
        let mut config = tracewell_proxy::Config::default();
        set(&mut config);
        tracewell_proxy::start(config, tracing::Dispatch::none())
    };
    let message = |result: Result<tracewell_proxy::Running, tracewell_proxy::StartError>| match result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(message(start(|_| {}).await).contains("nowhere to listen"));
    assert!(message(start(|config| config.inbound = Some(ANY)).await).contains("--to URL"));
    let config = tracewell_proxy::Config { outbound: taken.local_addr().ok(), ..Default::default() };
    let error = message(tracewell_proxy::start(config, tracing::Dispatch::none()).await);
    assert!(error.contains("--outbound") && error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
    let error =
        message(start(|config| (config.outbound, config.ca_file) = (Some(ANY), Some("/nowhere.pem".into()))).await);
    assert!(error.contains("/nowhere.pem"), "{error}");
}
