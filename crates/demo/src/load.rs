//! The visitors: journeys that begin at random moments, as real ones do, however slow the shop is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::network::{PlainClient, plain_client};
use crate::service::World;

/// Visitors at a time; where the shop is so slow that there are more, new ones stay away.
const VISITORS_MAX: usize = 128;

/// Registered customers.
const USERS: u64 = 5_000;

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "ShopApp/7.3 (iPhone; iOS 26.1)",
];

const CATEGORIES: [&str; 5] = ["books", "garden", "kitchen", "music", "toys"];

/// Sends requests until the shop closes.
pub(crate) async fn run(world: Arc<World>, per_second: f64) {
    if !(per_second > 0.0 && per_second.is_finite()) {
        return;
    }
    let client = plain_client(&world.directory);
    let visitors = Arc::new(Semaphore::new(VISITORS_MAX));
    loop {
        let gap = world.random.gap(per_second);
        tokio::select! {
            () = world.stop.cancelled() => return,
            () = tokio::time::sleep(gap) => {}
        }
        let Ok(visitor) = Arc::clone(&visitors).try_acquire_owned() else { continue };
        let (client, world, tracker) = (client.clone(), Arc::clone(&world), world.tasks.clone());
        tracker.spawn(async move {
            let _visitor = visitor;
            visit(&client, &world).await;
        });
    }
}

/// One request, of the kinds that a shop sees.
async fn visit(client: &PlainClient, world: &World) {
    let random = &world.random;
    let user = format!("u{}", 1 + random.below(USERS));
    let product = 1 + random.below(400);
    let (method, path, body) = match random.below(100) {
        0..35 => {
            let category = CATEGORIES[random.below(CATEGORIES.len() as u64) as usize];
            (Method::GET, format!("/?user={user}&category={category}"), String::new())
        }
        35..65 => (Method::GET, format!("/products/{product}?user={user}"), String::new()),
        65..83 => (Method::POST, format!("/cart?user={user}"), json!({"product": product}).to_string()),
        _ => (Method::POST, format!("/checkout?user={user}"), json!({}).to_string()),
    };
    let browser = BROWSERS[random.below(BROWSERS.len() as u64) as usize];
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://web-frontend:8080{path}"))
        .header(USER_AGENT, browser)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)));
    let Ok(request) = request else { return };
    let exchange = async {
        if let Ok(response) = client.request(request).await {
            // A visitor reads the page whatever it says.
            let _ = response.into_body().collect().await;
        }
    };
    // A visitor gives up after half a minute; the shop learns of it by the broken connection.
    let _ = tokio::time::timeout(Duration::from_secs(30), exchange).await;
}
