//! The visitors: requests that begin at random moments, as real ones do, however slow the shop is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::sync::Semaphore;
use tower_service::Service as _;
use tracing::Dispatch;

use crate::network;
use crate::random::Random;
use crate::service::PlainClient;
use crate::world::World;

/// Visitors at a time; where the shop is so slow that there are more, new ones stay away.
const VISITORS_MAX: usize = 128;

/// A visitor gives up after this time; the shop learns of it by the broken connection.
const VISIT_MAX: Duration = Duration::from_secs(30);

/// Registered customers.
const USERS: u64 = 5_000;

/// Products on sale.
const PRODUCTS: f64 = 400.0;

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "ShopApp/7.3 (iPhone; iOS 26.1)",
];

const CATEGORIES: [&str; 5] = ["books", "garden", "kitchen", "music", "toys"];

/// What people search for; two of them are not sold.
const WORDS: [&str; 8] = ["kettle", "guitar", "lamp", "puzzle", "novel", "garden", "umbrella", "bicycle"];

/// A product, popular ones more often.
pub(crate) fn product(random: &Random) -> u64 {
    let chosen = random.unit();
    1 + (chosen * chosen * chosen * PRODUCTS) as u64
}

/// The category of a product.
pub(crate) fn category(product: u64) -> &'static str {
    CATEGORIES[(product % CATEGORIES.len() as u64) as usize]
}

/// Sends requests until the shop closes.
pub(crate) async fn run(world: Arc<World>, per_second: f64) {
    if !(per_second > 0.0 && per_second.is_finite()) {
        return;
    }
    // Browsers do not trace here.
    let client: PlainClient = network::client(&world.directory, &Dispatch::none(), false);
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
            visit(client, &world).await;
        });
    }
}

/// One request, of the kinds that a shop sees.
async fn visit(mut client: PlainClient, world: &World) {
    let random = &world.random;
    let user = format!("u{}", 1 + random.below(USERS));
    let product = product(random);
    let chosen = |words: &[&'static str]| words[random.below(words.len() as u64) as usize];
    let (method, path, body) = match random.below(100) {
        0..26 => (Method::GET, format!("/?user={user}&category={}", chosen(&CATEGORIES)), String::new()),
        26..50 => (Method::GET, format!("/products/{product}?user={user}"), String::new()),
        50..62 => (Method::GET, format!("/search?user={user}&q={}", chosen(&WORDS)), String::new()),
        62..68 => (Method::POST, format!("/login?user={user}"), json!({}).to_string()),
        68..74 => (Method::GET, format!("/orders?user={user}"), String::new()),
        74..86 => (Method::POST, format!("/cart?user={user}"), json!({"product": product}).to_string()),
        _ => (Method::POST, format!("/checkout?user={user}"), json!({}).to_string()),
    };
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://web-frontend:8080{path}"))
        .header(USER_AGENT, chosen(&BROWSERS))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)));
    let Ok(request) = request else { return };
    let exchange = async {
        if let Ok(response) = client.call(request).await {
            // A visitor reads the page whatever it says.
            let _ = response.into_body().collect().await;
        }
    };
    let _ = tokio::time::timeout(VISIT_MAX, exchange).await;
}
