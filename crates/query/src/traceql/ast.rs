//! The syntax tree.

/// Where in the query something stands. All positions are equal to each other: two trees are equal when they
/// mean the same, wherever their parts stood.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pos {
    /// Byte offset.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

impl PartialEq for Pos {
    fn eq(&self, _: &Pos) -> bool {
        true
    }
}

impl Eq for Pos {}

impl Pos {
    pub(crate) fn to(self, end: Pos) -> Pos {
        Pos { start: self.start, len: (end.start + end.len).saturating_sub(self.start) }
    }
}

/// A whole query.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// What it asks.
    pub body: Body,
    /// `with(key = value, …)`.
    pub hints: Vec<Hint>,
}

/// One `key = value` of `with(…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    /// Name, such as `most_recent`.
    pub name: String,
    /// Value.
    pub value: Static,
    /// Where it stands.
    pub pos: Pos,
}

/// The two kinds of query.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Stages joined by `|`.
    Pipeline(Pipeline),
    /// Arithmetic on metrics: `({…} | rate()) / ({…} | rate())`, and stages after it.
    Math(Math, Vec<Stage>),
}

/// Arithmetic on metrics.
#[derive(Debug, Clone, PartialEq)]
pub enum Math {
    /// A pipeline that ends in metrics.
    Metrics(Pipeline),
    /// One operator.
    Binary(MathOp, Box<Math>, Box<Math>),
}

/// Stages joined by `|`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The stages; at least one.
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Selects spans.
    Spansets(SpansetExpr),
    /// Keeps the spansets for which a comparison of aggregates holds.
    ScalarFilter {
        /// Comparison.
        op: CompareOp,
        /// Left side.
        lhs: ScalarExpr,
        /// Right side.
        rhs: ScalarExpr,
        /// Where it stands.
        pos: Pos,
    },
    /// An aggregate with no comparison: the last stage of a pipeline in parentheses that is compared outside.
    Scalar(ScalarExpr, Pos),
    /// `by(…)`: splits every spanset by the values of expressions.
    By(Vec<FieldExpr>, Pos),
    /// `coalesce()`: joins all spansets of a trace again.
    Coalesce(Pos),
    /// `select(…)`: names attributes for the answer.
    Select(Vec<FieldExpr>, Pos),
    /// A metrics function.
    Metrics(MetricsStage),
    /// `topk(n)`: the series with the largest values.
    TopK(u64, Pos),
    /// `bottomk(n)`: the series with the smallest values.
    BottomK(u64, Pos),
    /// `> 10` after metrics: the points for which it holds.
    MetricsFilter(CompareOp, Static, Pos),
}

/// A metrics function and its grouping.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsStage {
    /// The function.
    pub function: MetricsFunction,
    /// `by (…)` after it.
    pub by: Vec<FieldExpr>,
    /// Where it stands.
    pub pos: Pos,
}

/// The metrics functions.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    /// Spans per second.
    Rate,
    /// Spans per interval.
    CountOverTime,
    /// Smallest value per interval.
    MinOverTime(FieldExpr),
    /// Largest value per interval.
    MaxOverTime(FieldExpr),
    /// Mean value per interval.
    AvgOverTime(FieldExpr),
    /// Sum of the values per interval.
    SumOverTime(FieldExpr),
    /// Quantiles (0 to 1) per interval.
    QuantileOverTime(FieldExpr, Vec<f64>),
    /// Distribution per interval.
    HistogramOverTime(FieldExpr),
    /// What sets a selection of spans apart from the rest.
    Compare {
        /// The selection.
        selection: Box<SpansetExpr>,
        /// Values for each attribute.
        top: Option<u64>,
        /// Start and end of the selection, nanoseconds since the epoch.
        window: Option<(u64, u64)>,
    },
}

/// Selects spans of a trace.
#[derive(Debug, Clone, PartialEq)]
pub enum SpansetExpr {
    /// `{ … }`; `None` is `{ }`, which selects every span.
    Filter(Option<FieldExpr>, Pos),
    /// Two selections combined.
    Binary {
        /// How.
        op: SpansetOp,
        /// Left side.
        lhs: Box<SpansetExpr>,
        /// Right side.
        rhs: Box<SpansetExpr>,
        /// Where it stands.
        pos: Pos,
    },
    /// A pipeline in parentheses, of at least two stages.
    Pipeline(Pipeline),
}

impl SpansetExpr {
    /// Where it stands; the zero position for a pipeline.
    pub fn pos(&self) -> Pos {
        match self {
            SpansetExpr::Filter(_, pos) | SpansetExpr::Binary { pos, .. } => *pos,
            SpansetExpr::Pipeline(_) => Pos::default(),
        }
    }
}

/// How two selections are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpansetOp {
    /// Both sides select something; the answer is both.
    And,
    /// Either side selects something; the answer is both.
    Or,
    /// Depends on the tree.
    Structural(Structural, StructuralForm),
}

/// A relation between a span of the left side and one of the right side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structural {
    /// `>`: the right span is a child of the left one.
    Child,
    /// `<`: the right span is the parent of the left one.
    Parent,
    /// `>>`: the right span is a descendant of the left one.
    Descendant,
    /// `<<`: the right span is an ancestor of the left one.
    Ancestor,
    /// `~`: the spans are siblings.
    Sibling,
}

/// Which spans a structural operator selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuralForm {
    /// `>`: spans of the right side that stand in the relation to some span of the left side.
    Plain,
    /// `!>`: spans of the right side that stand in the relation to none.
    Not,
    /// `&>`: as plain, and the spans of the left side that they relate to.
    Union,
}

/// A number computed from a spanset.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarExpr {
    /// A number.
    Static(Static, Pos),
    /// An aggregate; all but `count` have an expression.
    Aggregate(Aggregate, Option<Box<FieldExpr>>, Pos),
    /// Arithmetic.
    Binary(MathOp, Box<ScalarExpr>, Box<ScalarExpr>),
    /// Negation of anything but a literal.
    Negate(Box<ScalarExpr>),
    /// `({…} | count())`.
    Pipeline(Pipeline),
}

/// The aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Aggregate {
    Count,
    Avg,
    Max,
    Min,
    Sum,
}

/// Arithmetic operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MathOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    Regex,
    NotRegex,
}

/// Operators with two operands in a field expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    And,
    Or,
    Compare(CompareOp),
    Math(MathOp),
}

/// Operators with one operand in a field expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnaryOp {
    Not,
    Negate,
}

/// An expression over one span.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldExpr {
    /// What it is.
    pub node: FieldNode,
    /// Where it stands.
    pub pos: Pos,
}

/// The kinds of field expression.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldNode {
    /// A literal.
    Static(Static),
    /// An attribute or intrinsic.
    Field(super::Field),
    /// One operand.
    Unary(UnaryOp, Box<FieldExpr>),
    /// Two operands.
    Binary(BinaryOp, Box<FieldExpr>, Box<FieldExpr>),
    /// `cidr(field, "10.0.0.0/8", …)`: the text is an address in one of the networks.
    Cidr(Box<FieldExpr>, Vec<String>),
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Static {
    /// No value.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal number.
    Float(f64),
    /// A text.
    Str(String),
    /// Nanoseconds.
    Duration(i64),
    /// A span status.
    Status(Status),
    /// A span kind.
    Kind(Kind),
}

/// Span status, by its OTLP number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(i32)]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// Span kind, by its OTLP number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(i32)]
pub enum Kind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// Where an attribute is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttrScope {
    /// `.key`: the span's, or the resource's where the span has none of that name.
    Any,
    /// `span.key`.
    Span,
    /// `resource.key`.
    Resource,
    /// `event.key`: any event of the span.
    Event,
    /// `link.key`: any link of the span.
    Link,
    /// `instrumentation.key`: the instrumentation scope.
    Instrumentation,
}

/// An attribute by scope and key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// Where.
    pub scope: AttrScope,
    /// Key.
    pub key: String,
}

/// What every span has by its nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Intrinsic {
    Duration,
    Name,
    Kind,
    Status,
    StatusMessage,
    ChildCount,
    SpanId,
    ParentId,
    /// Bare `parent`: nil for a root span.
    Parent,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    TraceDuration,
    RootName,
    RootService,
    TraceId,
    EventName,
    EventTimeSinceStart,
    LinkSpanId,
    LinkTraceId,
    InstrumentationName,
    InstrumentationVersion,
}
