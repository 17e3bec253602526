//! Peers in other languages, `peers/`: what their programs are made of, and how they are compiled when a run wants them.
//!
//! Not here: which rows they do. The sources are in this program, so that it needs no checkout to compile them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, process, thread};

use crate::complaint::Complaint;

/// A program that speaks the lines of a side, and does the rows of one language.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) name: &'static str,
    compiler: &'static str,
    /// Before the name of the output.
    before: &'static [&'static str],
    /// After it.
    after: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    sources: &'static [(&'static str, &'static str)],
    /// How a system without it gets it.
    get: &'static str,
}

pub(crate) const GO: Foreign = Foreign {
    name: "Go",
    compiler: "go",
    before: &["build", "-o"],
    after: &["main.go", "waiting.go", "work.go"],
    environment: &[("GO111MODULE", "off"), ("GOTOOLCHAIN", "local")],
    sources: &[
        ("main.go", include_str!("../peers/go/main.go")),
        ("waiting.go", include_str!("../peers/go/waiting.go")),
        ("work.go", include_str!("../peers/go/work.go")),
    ],
    get: "get it by `apt install golang-go` or from https://go.dev/dl",
};

pub(crate) const BOOST: Foreign = Foreign {
    name: "boost",
    compiler: "g++",
    before: &["-std=c++17", "-O2", "-o"],
    after: &["main.cpp", "-lboost_fiber", "-lboost_context", "-pthread"],
    environment: &[],
    sources: &[
        ("main.cpp", include_str!("../peers/boost/main.cpp")),
        ("contexts.hpp", include_str!("../peers/boost/contexts.hpp")),
        ("fibers.hpp", include_str!("../peers/boost/fibers.hpp")),
        ("side.hpp", include_str!("../peers/boost/side.hpp")),
        ("waiting.hpp", include_str!("../peers/boost/waiting.hpp")),
        ("workers.hpp", include_str!("../peers/boost/workers.hpp")),
    ],
    get: "get it by `apt install g++ libboost-fiber-dev`, or from https://www.boost.org",
};

/// A program that was compiled.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// What it says of its compiler and library.
    pub(crate) version: String,
}

impl Foreign {
    /// Compiles it into `folder`, unless that has been done. The error says why there is no program, and how to get it.
    pub(crate) fn compile(&self, folder: &Path) -> Result<Program, String> {
        let path = folder.join(self.name).join("peer");
        let compiled = self.build(folder, &path).and_then(|()| {
            let said = output(Command::new(&path).arg("version"))?;
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            Ok(Program { path, version })
        });
        compiled.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no `{}`; {}", self.compiler, self.get),
            _ => format!("`{}`: {error}; {}", self.compiler, self.get),
        })
    }

    fn build(&self, folder: &Path, path: &Path) -> io::Result<()> {
        let home = folder.join(self.name);
        fs::create_dir_all(&home)?;
        let mut fresh = path.exists();
        for (name, text) in self.sources {
            let place = home.join(name);
            if fs::read(&place).ok().as_deref() != Some(text.as_bytes()) {
                fs::write(place, text)?;
                fresh = false;
            }
        }
        if fresh {
            return Ok(());
        }
        // Another run may do the same at this time: whoever is through first or last, there is a whole program.
        let own: String = format!("{}-{:?}", process::id(), thread::current().id())
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let built = home.join(own);
        let arguments = |list: &'static [&str]| list.iter().map(OsStr::new);
        output(
            Command::new(self.compiler)
                .current_dir(&home)
                .args(arguments(self.before).chain([built.as_os_str()]))
                .args(arguments(self.after))
                .envs(self.environment.iter().copied())
                // Where Go keeps what it has compiled.
                .env("GOCACHE", home.join("cache")),
        )?;
        fs::rename(built, path)
    }
}

/// The output of a command that succeeds.
fn output(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let why = Complaint::read(output.stderr.as_slice()).reason();
    Err(io::Error::other(
        why.unwrap_or_else(|| output.status.to_string()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("sisal-foreign-{}-{name}", process::id()))
    }

    #[test]
    fn a_missing_compiler_is_said_with_how_to_get_it() {
        let nobody = Foreign {
            compiler: "no-such-compiler",
            ..GO
        };
        let folder = folder("missing");
        let why = nobody.compile(&folder).unwrap_err();
        assert_eq!(why, format!("there is no `no-such-compiler`; {}", GO.get));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_compiler_complains_of_is_said() {
        let broken = Foreign {
            compiler: "sh",
            before: &["-c", "echo 'fatal error: no boost' >&2; exit 1"],
            after: &[],
            ..BOOST
        };
        let folder = folder("broken");
        let why = broken.compile(&folder).unwrap_err();
        assert_eq!(why, format!("`sh`: fatal error: no boost; {}", BOOST.get));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn it_is_compiled_once_and_says_its_version() {
        let script = Foreign {
            name: "script",
            compiler: "sh",
            before: &["-c", "echo again >>log; cp script $0; chmod +x $0"],
            after: &[],
            environment: &[],
            sources: &[("script", "#!/bin/sh\necho $1 7\n")],
            get: "",
        };
        let folder = folder("once");
        for _ in 0..2 {
            let program = script.compile(&folder).unwrap();
            assert_eq!(program.version, "version 7");
        }
        let log = fs::read_to_string(folder.join("script/log")).unwrap();
        assert_eq!(log, "again\n");
        fs::remove_dir_all(folder).unwrap();
    }
}
