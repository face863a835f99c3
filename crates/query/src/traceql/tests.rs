//! The language, as a table of what is read, what is refused and why, and the law that printing loses nothing.

use proptest::prelude::*;

use super::*;

/// Valid queries and what they print as. The first block is from Tempo's "Construct a TraceQL query" and "TraceQL
/// metrics functions"; the rest covers what those leave out.
const VALID: &[(&str, &str)] = &[
    ("{}", "{ }"),
    (
        "{ span.http.status_code >= 200 && span.http.status_code < 300 } | count() > 2",
        "{ (span.http.status_code >= 200) && (span.http.status_code < 300) } | count() > 2",
    ),
    (
        "{resource.service.name = \"frontend\" && name = \"POST /api/orders\"}",
        "{ (resource.service.name = \"frontend\") && (name = \"POST /api/orders\") }",
    ),
    (
        "{ span.http.method = \"GET\" && status = ok } && { span.http.method = \"DELETE\" && status != ok }",
        "{ (span.http.method = \"GET\") && (status = ok) } && { (span.http.method = \"DELETE\") && (status != ok) }",
    ),
    ("{ trace:rootName !~ \".*perf.*\"}", "{ trace:rootName !~ \".*perf.*\" }"),
    ("{ span.\"attribute name with space\" = \"value\" }", "{ span.\"attribute name with space\" = \"value\" }"),
    (
        "{ span.attribute.\"attribute name with space\" = \"value\" }",
        "{ span.\"attribute.attribute name with space\" = \"value\" }",
    ),
    ("{ span.any_attribute != nil }", "{ span.any_attribute != nil }"),
    (
        "{ span.http.request_content_length > 10 * 1024 * 1024 }",
        "{ span.http.request_content_length > ((10 * 1024) * 1024) }",
    ),
    (
        "{ status = error } | by(resource.service.name) | count() > 1",
        "{ status = error } | by(resource.service.name) | count() > 1",
    ),
    (
        "{ status = error } | select(span.http.status_code, span.http.url)",
        "{ status = error } | select(span.http.status_code, span.http.url)",
    ),
    ("{} with (most_recent=true)", "{ } with(most_recent = true)"),
    ("{ } !< { resource.service.name = \"foo\" }", "{ } !< { resource.service.name = \"foo\" }"),
    ("{ .a } &>> { .b } | avg(duration) > 20ms", "{ .a } &>> { .b } | avg(duration) > 20ms"),
    (
        "{ kind = server } && ({ name = `a` } ~ { status != unset })",
        "{ kind = server } && ({ name = \"a\" } ~ { status != unset })",
    ),
    // Durations: several units, fractions, every unit.
    ("{ duration > 1h30m }", "{ duration > 90m }"),
    ("{ duration > 1.5s || duration < 10us }", "{ (duration > 1500ms) || (duration < 10us) }"),
    ("{ duration != 1µs }", "{ duration != 1us }"),
    (
        "{ duration > 1d && duration < 1w && duration != 1y }",
        "{ ((duration > 24h) && (duration < 168h)) && (duration != 8760h) }",
    ),
    // `&&` binds tighter than `||`; a sign or `!` tighter than `+`, looser than `*`; `^` to the right.
    ("{ .a || .b && .c }", "{ .a || (.b && .c) }"),
    ("{ .a } || { .b } && { .c }", "{ .a } || ({ .b } && { .c })"),
    ("{ .a } && { .b } > { .c }", "{ .a } && ({ .b } > { .c })"),
    ("{ !.a = true }", "{ (!.a) = true }"),
    ("{ -.a * 2 + 1 = 3 }", "{ ((-(.a * 2)) + 1) = 3 }"),
    ("{ 2 ^ 3 ^ .a > 1 - 2 - 3 }", "{ (2 ^ (3 ^ .a)) > ((1 - 2) - 3) }"),
    // Names end at space, brackets and operators; `-`, `/` and `:` belong to them.
    ("{ span.a-b/c = 1 }", "{ span.\"a-b/c\" = 1 }"),
    ("{ .5xx.\"\" = 1 }", "error"),
    ("{ .\"5xx\" = .99 }", "{ .\"5xx\" = 0.99 }"),
    (
        "{ parent.http.route = \"/\" && parent.duration > 1s && parent.span.duration = 1 }",
        "{ ((parent.\"http.route\" = \"/\") && (parent.span:duration > 1s)) && (parent.span.duration = 1) }",
    ),
    ("{ parent = nil && span:parentID = `ab` }", "{ (parent = nil) && (span:parentID = \"ab\") }"),
    (
        "{ event:timeSinceStart > 2ms && link:traceID = \"1\" && instrumentation:version = \"1\" }",
        "{ ((event:timeSinceStart > 2ms) && (link:traceID = \"1\")) && (instrumentation:version = \"1\") }",
    ),
    (
        "{ event.exception.message =~ \".*x.*\" || link.a = 1 || instrumentation.b != 2 }",
        "{ ((event.exception.message =~ \".*x.*\") || (link.a = 1)) || (instrumentation.b != 2) }",
    ),
    (
        "{ rootServiceName = \"a\" && rootName = \"b\" && traceDuration > 1s && nestedSetParent < 0 }",
        "{ (((trace:rootService = \"a\") && (trace:rootName = \"b\")) && (trace:duration > 1s)) && (nestedSetParent < 0) }",
    ),
    (
        "{ cidr(span.client.address, \"10.0.0.0/8\", \"::1/128\") }",
        "{ cidr(span.client.address, \"10.0.0.0/8\", \"::1/128\") }",
    ),
    ("{ name = \"tab\\there \\u00e9 \\\"q\\\"\" } // comment", "{ name = \"tab\\there é \\\"q\\\"\" }"),
    ("/* all */ { } | by(name, 1 + .a) | coalesce() | { true }", "{ } | by(name, 1 + .a) | coalesce() | { true }"),
    (
        "max(duration) > 3s | { status = error || .http.status = 500 }",
        "max(duration) > 3s | { (status = error) || (.http.status = 500) }",
    ),
    (
        "({ true } | count() > 1 | { false }) >> ({ true } | count() > 1 | { false })",
        "({ true } | count() > 1 | { false }) >> ({ true } | count() > 1 | { false })",
    ),
    (
        "({ .a } | count()) + ({ .b } | avg(duration)) * 2 >= -5",
        "({ .a } | count()) + (({ .b } | avg(duration)) * 2) >= -5",
    ),
    ("(count() + 1) * 2 = 4", "(count() + 1) * 2 = 4"),
];

#[test]
fn valid_queries_are_read_and_printed() {
    for (text, printed) in VALID {
        match parse(text) {
            Ok(root) => {
                assert_eq!(root.to_string(), *printed, "{text}");
                assert_eq!(parse(printed).unwrap(), root, "{text}");
                Query::check(root).unwrap_or_else(|error| panic!("{text}: {error}"));
            }
            Err(error) => assert_eq!(*printed, "error", "{text}: {error}"),
        }
    }
}

/// Metrics are read and typed; a search says that it does not answer them.
#[test]
fn metrics_are_read_and_named_when_refused() {
    let cases = [
        ("{ status = error } | rate() by (resource.service.name, name)", "rate()"),
        ("{ name = \"GET /:endpoint\" } | count_over_time() by (span.http.status_code)", "count_over_time()"),
        ("{ } | min_over_time(duration) by (span.http.target)", "min_over_time()"),
        ("{ } | quantile_over_time(duration, .99, .9, .5) | topk(10) | > 1s", "quantile_over_time()"),
        ("{ } | histogram_over_time(duration) by (span.foo)", "histogram_over_time()"),
        ("{ } | compare({status=error}, 5, 1700000000000000000, 1700000001000000000)", "compare()"),
        ("({ status = error } | rate()) / ({ } | rate()) | bottomk(3)", "rate()"),
        ("({ } | sum_over_time(span.bytes))", "sum_over_time()"),
    ];
    for (text, name) in cases {
        let root = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(parse(&root.to_string()).unwrap(), root, "{text} printed as {root}");
        let error = Query::check(root).unwrap_err();
        assert!(error.message.starts_with(&format!("{name} makes a metrics query")), "{text}: {error}");
    }
}

/// What is refused: the query, with the place of the error marked by `‹…›`, the message, and a part of the hint.
const INVALID: &[(&str, &str, &str)] = &[
    ("‹true›", "unknown stage \"true\"", "braces"),
    ("{ .a ‹›", "this { … } is not closed, but the query ends here", ""),
    ("{ .a < ‹}›", "expected an attribute, an intrinsic or a value", ""),
    ("{ (.a < 3 ‹}›", "expected an operator or }", ""),
    ("{ ‹attribute› = 4 }", "unknown intrinsic \"attribute\"", "span.attribute"),
    ("{ .attribute ‹==› 4 }", "== is not an operator", "write ="),
    ("{ ‹span.› }", "an attribute name is missing after the dot", ""),
    ("{ ‹spam›.foo = 1 }", "unknown scope \"spam\"", "did you mean span.foo?"),
    ("{ ‹http›.status = 1 }", "unknown scope \"http\"", "span.http.status"),
    ("{ ‹duraton› > 1s }", "unknown intrinsic \"duraton\"", "did you mean duration?"),
    ("{ ‹span:nmae› = \"a\" }", "unknown intrinsic \"span:nmae\"", "did you mean span:name?"),
    ("{ ‹event:route› = \"a\" }", "unknown intrinsic \"event:route\"", "event.route"),
    ("{ ‹duration > \"x\"› }", "a duration cannot be compared with a text", "100ms"),
    ("{ ‹status = \"error\"› }", "a status cannot be compared with a text", "without quotes"),
    ("{ ‹kind = error› }", "a span kind cannot be compared with a status", "server"),
    ("{ ‹name = 5› }", "a text cannot be compared with a whole number", "quotes"),
    ("{ ‹status > ok› }", "> cannot be applied to a status", "order"),
    ("{ ‹.a > nil› }", "> cannot be applied to nil", "="),
    ("{ ‹status› }", "a filter must be true or false, and this is a status", "compare"),
    ("{ ‹1 + 1› }", "a filter must be true or false, and this is a whole number", ""),
    ("{ 1 + ‹\"foo\"› = 1 }", "+ needs numbers, and this is a text", ""),
    ("{ -‹name› = \"foo\" }", "- needs a number, and this is a text", ""),
    ("{ !‹1› = 1 }", "! needs a truth value, and this is a whole number", ""),
    ("{ true || ‹1.1› }", "|| needs truth values, and this is a decimal number", ""),
    ("{ .a =~ ‹2› }", "the right side of =~ must be a text with a regular expression", ""),
    ("{ .a =~ ‹\"a(\"› }", "this regular expression is not valid: unclosed group", ""),
    ("{ .a =~ ‹\"a)(b\"› }", "this regular expression is not valid: unopened group", ""),
    ("{ ‹duration› =~ \"1s\" }", "=~ works on texts, and this is a duration", ""),
    ("{ .a ‹and› .b }", "expected an operator", "&&"),
    ("{ .a ‹in› [1, 2] }", "TraceQL has no in", "=~"),
    ("{ .a = ‹null› }", "unknown word \"null\"", "nil"),
    ("{ .a = ‹'› x }", "unexpected character '\\''", "quotes"),
    ("{ duration > ‹10sec› }", "\"sec\" is not a unit of time", "units"),
    ("{ duration > ‹1h30› }", "this duration ends in a number without unit", "units"),
    ("{ duration > ‹400y› }", "this duration is longer than 292 years", ""),
    ("{ .a = ‹99999999999999999999› }", "this number is too large", ""),
    ("{ .a = ‹\"open }›", "this text has no end", "\""),
    ("{ .a = \"‹\\q›\" }", "unknown escape", "backslash"),
    ("{ ‹cidr(.a, \"10.0.0.0\")› }", "\"10.0.0.0\" is not a network", "10.0.0.0/8"),
    ("{ true } ‹+› { true }", "+ does not combine spansets", "combine with"),
    ("{ true } ‹=› { true }", "= does not combine spansets", ""),
    ("{ true } | ‹count()›", "an aggregate must be compared with something", "count() > 2"),
    ("{ true } | ‹notAnAggregate›() = 1", "unknown stage \"notAnAggregate\"", ""),
    ("{ true } | ‹conut›() = 1", "unknown stage \"conut\"", "did you mean count()?"),
    ("{ true } | count ‹=› 1", "expected ( after count", ""),
    ("{ true } | max(‹)› = 1", "max() needs what to compute it of", "max(duration)"),
    ("{ true } | max(‹name›) = 1", "max() needs numbers, and this is a text", ""),
    ("{ true } | sum(‹3›) = 2", "sum() needs something of the span, not only literals", ""),
    ("{ true } | by(‹1›)", "by() needs something of the span, not only literals", ""),
    ("‹coalesce()› | { true }", "coalesce() cannot be the first stage", ""),
    ("count() > 3 ‹&&› { true }", "&& cannot stand beside a whole stage", "parentheses"),
    ("({ true }) ‹+› (count()) = 1", "the two sides of + are not of one kind", ""),
    ("‹3 = 2›", "this comparison has no aggregate", ""),
    ("‹rate()›", "a metrics function needs spans to work on", ""),
    ("{ } | ‹topk(2)›", "this stage works on metrics, and there is no metrics function before it", "rate()"),
    ("{ } | rate() | ‹{ .a }›", "after a metrics function only topk(), bottomk() and a comparison can follow", ""),
    ("{ } ‹)›", "this parenthesis closes nothing", ""),
];

#[test]
fn invalid_queries_say_where_and_why() {
    for (marked, message, hint) in INVALID {
        let (before, rest) = marked.split_once('‹').unwrap();
        let (inner, after) = rest.split_once('›').unwrap();
        let text = format!("{before}{inner}{after}");
        // Where the text is cut off, the error stands at the very end.
        let expected = if text.ends_with("›") { text.len() } else { before.len() };
        let error = match Query::parse(&text) {
            Ok(query) => panic!("{text} was read as {}", query.root()),
            Err(error) => error,
        };
        assert_eq!(error.message, *message, "{text}");
        assert_eq!((error.position, error.length), (expected, inner.len()), "{text}: {}", error.message);
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint);
    }
}

#[test]
fn an_empty_query_asks_for_everything_and_bare_numbers_of_time_are_warned_about() {
    assert_eq!(Query::parse("  ").unwrap().root(), &parse("{ }").unwrap());
    assert_eq!(Query::parse("{ duration > 100 }").unwrap().warnings().len(), 1);
    assert!(Query::parse("{ duration > 0 && duration > 100ms }").unwrap().warnings().is_empty());
}

#[test]
fn length_depth_and_nesting_are_bounded() {
    let long = format!("{{ name = \"{}\" }}", "x".repeat(MAX_QUERY_BYTES));
    let wide = format!("{{ {} }}", vec![".a"; 2 * MAX_DEPTH].join("||"));
    let deep = format!("{{ {}true{} }}", "(".repeat(5_000), ")".repeat(5_000));
    let negated = format!("{{ {}true }}", "!".repeat(5_000));
    for text in [long, wide, deep, negated] {
        assert!(Query::parse(&text).is_err());
    }
    let many = format!("{{ {} }}", vec![".a"; MAX_DEPTH - 10].join("||"));
    assert!(Query::parse(&many).is_ok());
}

fn static_value() -> impl Strategy<Value = Static> {
    prop_oneof![
        Just(Static::Nil),
        any::<bool>().prop_map(Static::Bool),
        (0..=i64::MAX).prop_map(Static::Int),
        (0.0..1e300f64).prop_map(Static::Float),
        any::<String>().prop_map(Static::Str),
        (0..=i64::MAX).prop_map(Static::Duration),
        Just(Static::Status(Status::Error)),
        Just(Static::Kind(Kind::Consumer)),
    ]
}

fn any_field() -> impl Strategy<Value = Field> {
    let scopes = [AttrScope::Any, AttrScope::Span, AttrScope::Resource, AttrScope::Event, AttrScope::Link];
    let attribute = (proptest::sample::select(scopes.to_vec()), "([a-z.0-9]{1,8})|(.{1,8})")
        .prop_map(|(scope, key)| Attribute { scope, key });
    let intrinsics: Vec<Intrinsic> = super::field::INTRINSICS.iter().map(|(_, intrinsic)| *intrinsic).collect();
    prop_oneof![
        (any::<bool>(), attribute).prop_map(|(parent, attribute)| Field::Attr { parent, attribute }),
        (any::<bool>(), proptest::sample::select(intrinsics))
            .prop_map(|(parent, intrinsic)| Field::Intrinsic { parent: parent && intrinsic.of_span(), intrinsic }),
    ]
}

fn field_expr() -> impl Strategy<Value = FieldExpr> {
    let leaf = prop_oneof![static_value().prop_map(FieldNode::Static), any_field().prop_map(FieldNode::Field)];
    let leaf = leaf.prop_map(|node| FieldExpr { node, pos: Pos::default() });
    let ops = [
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Compare(CompareOp::NotEq),
        BinaryOp::Compare(CompareOp::Regex),
        BinaryOp::Compare(CompareOp::LtEq),
        BinaryOp::Math(MathOp::Sub),
        BinaryOp::Math(MathOp::Mul),
        BinaryOp::Math(MathOp::Pow),
    ];
    leaf.prop_recursive(4, 24, 2, move |inner| {
        let node = prop_oneof![
            (any::<bool>(), inner.clone()).prop_map(|(not, expr)| {
                FieldNode::Unary(if not { UnaryOp::Not } else { UnaryOp::Negate }, Box::new(expr))
            }),
            (proptest::sample::select(ops.to_vec()), inner.clone(), inner.clone())
                .prop_map(|(op, lhs, rhs)| FieldNode::Binary(op, Box::new(lhs), Box::new(rhs))),
            (inner, ".{0,5}").prop_map(|(expr, network)| FieldNode::Cidr(Box::new(expr), vec![network])),
        ];
        node.prop_map(|node| FieldExpr { node, pos: Pos::default() })
    })
}

fn spanset() -> impl Strategy<Value = SpansetExpr> {
    let leaf = proptest::option::of(field_expr()).prop_map(|expr| SpansetExpr::Filter(expr, Pos::default()));
    let relations =
        [Structural::Child, Structural::Parent, Structural::Descendant, Structural::Ancestor, Structural::Sibling];
    let forms = [StructuralForm::Plain, StructuralForm::Not, StructuralForm::Union];
    let op = prop_oneof![
        Just(SpansetOp::And),
        Just(SpansetOp::Or),
        (proptest::sample::select(relations.to_vec()), proptest::sample::select(forms.to_vec()))
            .prop_map(|(relation, form)| SpansetOp::Structural(relation, form)),
    ];
    leaf.prop_recursive(3, 8, 2, move |inner| {
        prop_oneof![
            (op.clone(), inner.clone(), inner.clone()).prop_map(|(op, lhs, rhs)| SpansetExpr::Binary {
                op,
                lhs: Box::new(lhs),
                rhs: Box::new(rhs),
                pos: Pos::default()
            }),
            inner.prop_map(|expr| SpansetExpr::Pipeline(Pipeline {
                stages: vec![Stage::Spansets(expr), Stage::Coalesce(Pos::default())]
            })),
        ]
    })
}

proptest! {
    #[test]
    fn printing_loses_nothing(spansets in spanset(), by in field_expr(), count in -5i64..5) {
        let pos = Pos::default();
        let lhs = ScalarExpr::Binary(
            MathOp::Sub,
            Box::new(ScalarExpr::Aggregate(Aggregate::Count, None, pos)),
            Box::new(ScalarExpr::Static(Static::Int(count), pos)),
        );
        let rhs = ScalarExpr::Aggregate(Aggregate::Max, Some(Box::new(by.clone())), pos);
        let stages =
            vec![Stage::Spansets(spansets), Stage::By(vec![by], pos), Stage::ScalarFilter { op: CompareOp::Lt, lhs, rhs, pos }];
        let root = Root { body: Body::Pipeline(Pipeline { stages }), hints: Vec::new() };
        let printed = root.to_string();
        prop_assert_eq!(parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error:?}")))?, root);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,60}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn no_mix_of_tokens_makes_the_reader_panic(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "(", ")", "|", "&&", "||", ">>", "!~", "&>", "=", "=~", "-", "!", "^", ".a", "span.", "parent.", "span:",
            "name", "duration", "count()", "by(", "rate()", "1h", "1.5", "\"x\"", "`", "\"", "nil", "with(", ",", "é", "\\",
        ]), 0..24)
    ) {
        let _ = Query::parse(&parts.join(" "));
        let _ = Query::parse(&parts.concat());
    }

    /// Cutting a query anywhere gives a query or an error whose place lies within the text.
    #[test]
    fn errors_point_into_the_text(index in 0..VALID.len(), cut in 0usize..100) {
        let text = VALID[index].0;
        let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
        if let Err(error) = Query::parse(&text[..cut]) {
            prop_assert!(error.position + error.length <= cut, "{:?}", error);
        }
    }
}
