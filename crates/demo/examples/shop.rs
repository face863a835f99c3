//! Runs the shop against any OTLP/HTTP endpoint:
//!
//! ```text
//! cargo run -p tracewell-demo --example shop -- http://127.0.0.1:4318 [requests per second] [fault,fault,…]
//! ```

use std::error::Error;

use tracewell_demo::DemoConfig;
use tracewell_sdk::Signal;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = DemoConfig::new(arguments.next().unwrap_or_else(|| "http://127.0.0.1:4318".to_owned()));
    if let Some(rate) = arguments.next() {
        config.requests_per_second = rate.parse()?;
    }
    for fault in arguments.next().iter().flat_map(|faults| faults.split(',')) {
        config.faults.push(fault.parse()?);
    }
    let demo = tracewell_demo::run(config).await?;
    println!("the shop is open; control port: http://{}", demo.control_addr());
    if let Some(frontend) = demo.frontend_addr() {
        println!("web frontend: http://{frontend}/");
    }
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = ticks.tick() => println!("spans {:?}\nlogs  {:?}", demo.stats(Signal::Traces), demo.stats(Signal::Logs)),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    demo.stop().await;
    Ok(())
}
