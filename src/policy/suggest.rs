//! `tollgate policy suggest`: policies that permit what was seen and little else.

use tollgate_policies::tools::{Columns, suggest};

use super::args::{SuggestArgs, WindowArgs};
use super::said::print;
use super::traffic;

/// Runs the command.
pub(super) fn run(args: &SuggestArgs) -> anyhow::Result<()> {
    let columns = ["source", "destination", "method", "route", "path", "decision", "reason"];
    let columns = Columns { columns: columns.into(), headers: Default::default(), time: false };
    // Of what was refused only that which is merely observed: it passed.
    let service = args.service.replace('\'', "''");
    let filter = format!("destination = '{service}' AND decision = 'allow'");
    let filter = match &args.window.filter {
        Some(more) => format!("{filter} AND ({more})"),
        None => filter,
    };
    let window = WindowArgs { since: args.window.since, filter: Some(filter) };
    let combinations = traffic::combinations(&args.engine.engine, &columns, &window, false)?;
    anyhow::ensure!(!combinations.is_empty(), "no request to `{}` was let through in that time", args.service);
    let suggestion = suggest(&combinations, None).map_err(anyhow::Error::msg)?;
    print(&args.output, &suggestion, || {
        let proof = &suggestion.proof;
        let head =
            format!("// From {} requests to {}, of which these policies deny none.\n", proof.requests, args.service);
        let left_out =
            suggestion.left_out.iter().map(|name| format!("// Left out: `{name}` is no `namespace/name`.\n"));
        format!("{head}{}\n{}", left_out.collect::<String>(), suggestion.text)
    })
}
