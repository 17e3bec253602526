//! The comparison: `cargo run --release -p sisal-benches -- --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::{Parser, Subcommand};
use sisal_benches::loopback::{self, Protocol};
use sisal_benches::{
    Instructions, Options, Report, Row, Side, instruction_rows, instructions, judge, names, run,
};

/// Sisal beside its peers, in one run
#[derive(Debug, Parser)]
#[command(name = "sisal-benches", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All rows beside all peers, those in other languages too, and servers; writes the report to `target/bench-report`
    All(Run),
    /// Write the documentation's page from a report
    Render(Render),
    /// Count the instructions of hot paths with callgrind, and fail if one has grown
    Instructions(Count),
    #[command(hide = true)]
    Side(Side),
    #[command(hide = true)]
    Server(loopback::Server),
    #[command(hide = true)]
    Client(loopback::Client),
}

#[derive(Clone, Debug, clap::Args)]
struct Run {
    /// Few short rounds of small sizes: shows that every row works, and says little about speed
    #[arg(long)]
    quick: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Only rows whose name contains this; `echo`, `http` and `instructions` are whole groups of `all`
    #[arg(long, value_name = "PART")]
    only: Option<String>,

    /// Rounds of each row
    #[arg(long)]
    rounds: Option<usize>,

    /// Print the names of the rows and measure nothing
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct Count {
    /// The committed figures
    #[arg(default_value = "benches/instructions.json")]
    committed: PathBuf,

    /// Write what is counted over the committed figures
    #[arg(long)]
    accept: bool,

    /// Percent by which a path may grow
    #[arg(long, default_value_t = 5.0)]
    most: f64,
}

#[derive(Clone, Debug, clap::Args)]
struct Render {
    /// JSON that `all` has written
    #[arg(default_value = "target/bench-report/report.json")]
    from: PathBuf,

    /// Where the page goes
    #[arg(long, default_value = "docs/benchmarks.md")]
    to: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => compare(arguments.run, false),
        Some(Command::All(run)) => compare(run, true),
        Some(Command::Render(render)) => finish(write_docs(&render)),
        Some(Command::Instructions(count)) => count_instructions(&count).unwrap_or_else(fail),
        Some(Command::Server(server)) => server.serve(),
        Some(Command::Client(client)) => client.serve(),
        Some(Command::Side(side)) => side.serve(),
    }
}

fn compare(arguments: Run, all: bool) -> ExitCode {
    let options = Options {
        all,
        quick: arguments.quick,
        only: arguments.only,
        rounds: arguments.rounds,
        program: None,
    };
    let mut rows = names(&options);
    if all {
        rows.extend(beyond().filter(|name| wanted(&options, name)));
    }
    if rows.is_empty() {
        let part = options.only.unwrap_or_default();
        let more = if all {
            ""
        } else {
            ", and `all --list` those of `all`"
        };
        eprintln!("no row has `{part}` in its name: `--list` prints all names{more}");
        return ExitCode::FAILURE;
    }
    if arguments.list {
        rows.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let mut progress = |line: &str| eprintln!("{line}");
    let mut report = run(&options, &mut progress);
    if all {
        beyond_rows(&mut report, &options, &mut progress);
    }
    let text = match (all, arguments.json) {
        (true, true) => report.json(),
        (true, false) => report.table(),
        (false, true) => report.short_json(),
        (false, false) => report.short_table(),
    };
    println!("{text}");
    if all {
        finish(write(&report))
    } else {
        ExitCode::SUCCESS
    }
}

/// What is measured otherwise: servers over loopback, and instructions.
fn beyond() -> impl Iterator<Item = &'static str> {
    let servers = Protocol::ALL.into_iter().map(Protocol::name);
    servers.chain([INSTRUCTIONS])
}

const INSTRUCTIONS: &str = "instructions";

fn wanted(options: &Options, name: &str) -> bool {
    let part = options.only.as_ref();
    part.is_none_or(|part| name.contains(part.as_str()))
}

fn beyond_rows(report: &mut Report, options: &Options, progress: &mut dyn FnMut(&str)) {
    let mut add = |what: &str, rows: io::Result<Vec<Row>>| match rows {
        Ok(rows) => report.rows.extend(rows),
        Err(error) => eprintln!("skipped: {what}: {error}"),
    };
    for protocol in Protocol::ALL {
        let name = protocol.name();
        if wanted(options, name) {
            add(name, loopback::rows(protocol, options, progress));
        }
    }
    if wanted(options, INSTRUCTIONS) && !options.quick {
        let program = std::env::current_exe();
        add(
            INSTRUCTIONS,
            program.and_then(|program| instruction_rows(&program, progress)),
        );
    }
}

/// Where cargo builds, as seen from where it was called.
fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(&target).join("bench-report")
}

fn write(report: &Report) -> io::Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.json"), report.json())?;
    let page = folder.join("index.html");
    fs::write(&page, report.page())?;
    Ok(page)
}

fn write_docs(render: &Render) -> io::Result<PathBuf> {
    let report = Report::from_json(&fs::read_to_string(&render.from)?)?;
    write(&report)?;
    fs::write(&render.to, report.markdown())?;
    Ok(render.to.clone())
}

fn count_instructions(count: &Count) -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let counted = instructions(&program, &mut |path| eprintln!("{path}"))?;
    if count.accept {
        // Tenths of an instruction are noise.
        let rounded: Instructions = counted
            .into_iter()
            .map(|(path, each)| (path, (10.0 * each).round() / 10.0))
            .collect();
        fs::write(
            &count.committed,
            serde_json::to_string_pretty(&rounded)? + "\n",
        )?;
        return Ok(finish(Ok(count.committed.clone())));
    }
    let committed = serde_json::from_str(&fs::read_to_string(&count.committed)?)?;
    let (table, good) = judge(&committed, &counted, count.most);
    print!("{table}");
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn fail(error: io::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn finish(written: io::Result<PathBuf>) -> ExitCode {
    match written {
        Ok(path) => {
            eprintln!("written: {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}
