//! A plan's graph for Graphviz (`-o dot`) and Mermaid (`-o mermaid`): steps are nodes, an arrow leads from what has to be
//! done before to what waits for it.

use std::fmt::{self, Write};

use super::plan::place;
use crate::plan::{Plan, Risk, Step};

/// What a node says: id, verb, object and place, one a line.
fn label(step: &Step, newline: &str, escape: fn(&str) -> String) -> String {
    let mut lines = vec![format!("{} {}", step.id(), step.verb()), step.object().to_string()];
    lines.extend(step.path.as_ref().map(|path| place(step, path)));
    lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join(newline)
}

fn edges(plan: &Plan, mut each: impl FnMut(String, String) -> fmt::Result) -> fmt::Result {
    for step in &plan.steps {
        for &before in &step.after {
            each(plan.steps[before].id(), step.id())?;
        }
    }
    Ok(())
}

/// The graph in Graphviz's language.
pub fn dot(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_dot(&mut out, plan);
    out
}

fn write_dot(out: &mut String, plan: &Plan) -> fmt::Result {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    writeln!(out, "digraph plan {{\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];")?;
    for step in &plan.steps {
        let color = match step.risk {
            Risk::None => "",
            Risk::Offline => ", color=orange",
            Risk::DataLoss => ", color=red, penwidth=2",
        };
        writeln!(out, "  {} [label=\"{}\"{color}];", step.id(), label(step, "\\n", escape))?;
    }
    edges(plan, |from, to| writeln!(out, "  {from} -> {to};"))?;
    writeln!(out, "}}")
}

/// The graph in Mermaid's language.
pub fn mermaid(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_mermaid(&mut out, plan);
    out
}

fn write_mermaid(out: &mut String, plan: &Plan) -> fmt::Result {
    let escape =
        |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(out, "flowchart LR")?;
    for step in &plan.steps {
        let class = match step.risk {
            Risk::None => "",
            Risk::Offline => ":::offline",
            Risk::DataLoss => ":::loss",
        };
        writeln!(out, "  {}[\"{}\"]{class}", step.id(), label(step, "<br/>", escape))?;
    }
    edges(plan, |from, to| writeln!(out, "  {from} --> {to}"))?;
    writeln!(out, "  classDef offline stroke:#e69500\n  classDef loss stroke:#d00000,stroke-width:3px")
}
