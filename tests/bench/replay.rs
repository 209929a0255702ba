//! How long ten million recorded requests take to be decided by other policies: by `tollgate policy replay`, and by SQL's
//! `authorize`. `TOLLGATE_BENCH_ROWS` sets how many there are.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::figures;
use crate::harness::{Engine, Workspace, tollgate};
use crate::mesh::{self, BATCH_ROWS, Mesh};

const ROWS_WANTED: u64 = 10_000_000;
/// Distinct batches, which are sent in turn: half a million distinct requests in all.
const DISTINCT: usize = 64;
const SERVICES: usize = 50;
const POLICIES_PER_SERVICE: usize = 20;

pub(crate) async fn run() -> anyhow::Result<()> {
    let rows = std::env::var("TOLLGATE_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS_WANTED);
    let workspace = Workspace::new(&[]);
    for (dir, is_changed) in [(workspace.policies(), false), (workspace.path("candidate"), true)] {
        std::fs::create_dir_all(dir.join("access"))?;
        for service in 0..SERVICES {
            std::fs::write(dir.join(format!("access/s{service}.cedar")), policies(service, is_changed))?;
        }
    }
    let candidate = workspace.path("candidate");
    let settings = format!("policy_sets: {{ candidate: {} }}\nquery: {{ timeout: 10m }}\n", candidate.display());
    let engine = Engine::start_at(&workspace, "127.0.0.1:0".parse()?, &settings).await;
    let started = Instant::now();
    fill(&engine, rows.div_ceil(BATCH_ROWS as u64) as usize).await?;
    let kept = engine.number("SELECT count(*) FROM requests").await;
    println!(
        "{kept} rows in {:.0} s, {:.0} MB resident\n",
        started.elapsed().as_secs_f64(),
        figures::resident_mb(engine.pid())
    );

    println!("| replay of {kept} requests | elapsed | engine's CPU | command's CPU | distinct | decided otherwise |");
    println!("|---|---|---|---|---|---|");
    let (started, cpu) = (Instant::now(), figures::cpu(engine.pid()));
    let (old, new, url) = (workspace.policies(), workspace.path("candidate"), engine.url());
    let command = tollgate(&["policy", "replay", "--since", "24h", "-o", "json", "--engine", &url])
        .arg("--policies")
        .arg(new)
        .arg("--against")
        .arg(old)
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = command.id();
    let watching = tokio::task::spawn_blocking(move || command.wait_with_output());
    // The command's time is asked for while it lives: what is missing is the last tenth of a second.
    let mut own = figures::cpu(pid);
    while !watching.is_finished() {
        own = own.max(figures::cpu(pid));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let output = watching.await??;
    anyhow::ensure!(output.status.success(), "the replay ended with {}", output.status);
    let totals = &serde_json::from_slice::<Value>(&output.stdout)?["totals"];
    let otherwise = totals["newly_denied"].as_u64().unwrap_or(0) + totals["newly_allowed"].as_u64().unwrap_or(0);
    println!(
        "| `policy replay` | {:.1} s | {:.1} s | {:.1} s | {} | {otherwise} |",
        started.elapsed().as_secs_f64(),
        (figures::cpu(engine.pid()) - cpu).as_secs_f64(),
        own.as_secs_f64(),
        totals["combinations"],
    );

    let (started, cpu) = (Instant::now(), figures::cpu(engine.pid()));
    let query = "SELECT count(*) FROM authorize('candidate') WHERE time > now() - INTERVAL '24 hours' \
                 AND would_decide <> CASE WHEN decision = 'deny' THEN 'deny' ELSE 'allow' END";
    let otherwise = engine.number(query).await;
    println!(
        "| SQL, `authorize` | {:.1} s | {:.1} s | | | {otherwise} |",
        started.elapsed().as_secs_f64(),
        (figures::cpu(engine.pid()) - cpu).as_secs_f64(),
    );
    Ok(())
}

/// Sends so many batches of the last minute.
async fn fill(engine: &Engine, count: usize) -> anyhow::Result<()> {
    let (mut mesh, now_us) = (Mesh::new("replay-1", 1), mesh::now_us()?);
    let batches = (0..DISTINCT).map(|_| mesh.batch(now_us - 60_000_000, now_us)).collect::<Result<Vec<_>, _>>()?;
    let mut sending = batches.iter().cycle().take(count).cloned();
    mesh::report(engine.grpc.to_string(), "replay-1".to_owned(), 1, || Ok(sending.next())).await
}

/// Policies of one service; with some changed, a caller loses its writes and a path is closed.
fn policies(service: usize, is_changed: bool) -> String {
    let mut text = String::new();
    for number in 0..POLICIES_PER_SERVICE {
        let (caller, head) = ((service * 7 + number) % SERVICES, format!("@id(\"s{service}-{number}\") "));
        let resource = format!("resource == Service::\"shop/service-{service}\"");
        // Writing to a text cannot fail.
        let _ = match number {
            0 => writeln!(
                text,
                "{head}permit (principal in Namespace::\"shop\", action in Action::\"read\", {resource});"
            ),
            1 if is_changed => writeln!(
                text,
                "{head}forbid (principal, action, {resource}) when {{ context.path like \"*/r{}/4*\" }};",
                service % 4
            ),
            2 => writeln!(
                text,
                "{head}forbid (principal, action, {resource}) when {{ context.path like \"/admin/*\" }} unless {{ context.is_mtls }};"
            ),
            _ => writeln!(
                text,
                "{head}permit (principal == Service::\"shop/service-{caller}\", action in Action::\"write\", {resource})\n\
                 when {{ context has user && context.path like \"*/r{}/*\" }};",
                number % 4
            ),
        };
    }
    text
}
