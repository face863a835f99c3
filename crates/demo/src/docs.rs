//! What `docs/demo.md` says about services, chain and faults is what the code says.

use std::fmt::Write as _;

use crate::faults::{Expected, FAULTS};
use crate::services::chain_entries;
use crate::topology::{CHAIN, Protocol, SERVICES};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/demo.md");

fn chain() -> String {
    let before = ["POST /checkout", "POST /api/checkout", "POST /orders"].map(str::to_owned);
    let operations = before.into_iter().chain(chain_entries().map(|(_, operation)| operation));
    let mut text = String::from("```text\n");
    for (place, (service, operation)) in CHAIN.iter().zip(operations).enumerate() {
        let note = match place {
            9 => "  ═╗ another region",
            10 => "  ◀╝",
            29 => "  → SELECT ledger_entries",
            _ => "",
        };
        let _ = writeln!(text, "{:>2}  {service:<22} {operation}{note}", place + 1);
    }
    text + "```\n"
}

fn services() -> String {
    let mut text = String::from("| namespace | service | speaks | instances | version |\n|---|---|---|---|---|\n");
    for spec in SERVICES.iter().filter(|spec| spec.traces()) {
        let speaks = if spec.protocol == Protocol::Grpc { "gRPC" } else { "HTTP" };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {speaks} | {} | {} |",
            spec.domain.namespace(),
            spec.name,
            spec.instances,
            spec.version
        );
    }
    text
}

fn faults() -> String {
    let mut text = String::new();
    for fault in FAULTS {
        let settings = match fault.settings {
            [] => String::new(),
            settings => format!(" Settings: `{}`.", settings.join("`, `")),
        };
        let _ = writeln!(text, "### {}\n", fault.name);
        let _ = writeln!(text, "{}: {}.{settings}\n", fault.title, fault.description);
        let _ = writeln!(text, "- Look for {}.", fault.look);
        let _ = writeln!(text, "- Find them: `tracewell query '{}'`", fault.query);
        let _ = writeln!(text, "- Expected verdict: {}. {}\n", fault.expected.sentence, structured(&fault.expected));
    }
    text
}

fn structured(expected: &Expected) -> String {
    let edge = expected.edge.map(|edge| format!("{} → {}", edge.caller, edge.callee));
    let parts = [
        ("kind", Some(expected.kind.as_str().to_owned())),
        ("service", expected.service.map(str::to_owned)),
        ("hop", edge),
        ("direction", expected.direction.map(|direction| direction.as_str().to_owned())),
        ("operation", expected.operation.map(str::to_owned)),
        ("attribute", expected.attribute.map(|(key, value)| format!("{key} = {value}"))),
    ];
    let parts = parts.into_iter().filter_map(|(name, part)| part.map(|part| format!("{name} `{part}`")));
    format!("({})", parts.collect::<Vec<_>>().join(", "))
}

/// Rewrites the page where it differs and `UPDATE_DOCS` is set; fails otherwise.
#[test]
fn the_page_says_what_the_code_says() {
    let page = std::fs::read_to_string(PATH).unwrap();
    let mut expected = page.clone();
    for (name, block) in [("chain", chain()), ("services", services()), ("faults", faults())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = expected.split_once(&begin).unwrap_or_else(|| panic!("{PATH} has no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PATH} has no {end}"));
        expected = format!("{before}{begin}{block}{end}{after}");
    }
    if expected != page && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &expected).unwrap();
    } else {
        assert!(expected == page, "{PATH} is out of date: UPDATE_DOCS=1 cargo test -p tracewell-demo the_page_says");
    }
}
