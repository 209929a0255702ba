//! A directory of policies as text. Reading it is all the I/O of this crate.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::links::LINKS;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes that are read in all.
const TOTAL_BYTES_MAX: u64 = 64 << 20;

/// The file of entities, at the root of the directory.
pub(crate) const ENTITIES: &str = "entities.json";
/// The generated schema, in each folder of policies: where Cedar's editor extensions look for one.
const SCHEMA: &str = "schema.cedarschema.json";
/// Names that may stand at the root of the directory.
const KNOWN: &[&str] = &["access", "shaping", "data", "signals", "tests", "lists", ENTITIES, LINKS];

/// One file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the policy directory, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Everything in a policy directory, each kind sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `access/*.cedar`.
    pub access: Vec<SourceFile>,
    /// `shaping/*.cedar`.
    pub shaping: Vec<SourceFile>,
    /// `signals/*.sql`.
    pub signals: Vec<SourceFile>,
    /// `data/*.cedar`; `None` where there is no such directory, which means something else than an empty one.
    pub data: Option<Vec<SourceFile>>,
    /// `entities.json`.
    pub entities: Option<SourceFile>,
    /// `links.json`: for whom templates stand.
    pub links: Option<SourceFile>,
    /// `lists/*.yaml`. What they name beside them is not read.
    pub lists: Vec<SourceFile>,
    /// `tests/*.yaml` and `tests/*.json`. Only [`Sources::read_tests`] reads them: no test keeps policies from being
    /// enforced.
    pub tests: Vec<SourceFile>,
    /// What was seen and not read, because nothing is known by its name. [`compile`](crate::compile()) warns of it.
    pub strays: Vec<String>,
}

impl Sources {
    /// Reads a directory. Hidden files and what editors leave behind are passed over.
    ///
    /// # Errors
    /// Every file that cannot be read, is not UTF-8, or is larger than 1 MiB, and a whole larger than 64 MiB.
    pub fn read(dir: &Path) -> Result<Self, Diagnostics> {
        let mut reader = Reader { problems: Diagnostics::default(), bytes_left: TOTAL_BYTES_MAX, strays: Vec::new() };
        let root = reader.list(dir, "");
        let mut sources = Self {
            access: reader.folder(dir, "access", ".cedar"),
            shaping: reader.folder(dir, "shaping", ".cedar"),
            signals: reader.folder(dir, "signals", ".sql"),
            ..Self::default()
        };
        if root.iter().any(|name| name == "data") {
            sources.data = Some(reader.folder(dir, "data", ".cedar"));
        }
        sources.lists = reader.named(dir, "lists", ".yaml");
        if root.iter().any(|name| name == ENTITIES) {
            sources.entities = reader.file(dir, ENTITIES.to_owned());
        }
        if root.iter().any(|name| name == LINKS) {
            sources.links = reader.file(dir, LINKS.to_owned());
        }
        reader.strays.extend(root.into_iter().filter(|name| !KNOWN.contains(&name.as_str())));
        sources.strays = reader.strays;
        if reader.problems.has_errors() { Err(reader.problems) } else { Ok(sources) }
    }

    /// Reads the tests of a directory.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub fn read_tests(dir: &Path) -> Result<Vec<SourceFile>, Diagnostics> {
        let mut reader = Reader { problems: Diagnostics::default(), bytes_left: TOTAL_BYTES_MAX, strays: Vec::new() };
        let mut tests = reader.folder(dir, "tests", ".yaml");
        tests.extend(reader.folder(dir, "tests", ".json"));
        if reader.problems.has_errors() { Err(reader.problems) } else { Ok(tests) }
    }

    /// The policies that a new installation, and the demo, starts with.
    #[must_use]
    pub fn starter() -> Self {
        macro_rules! file {
            ($path:literal) => {
                SourceFile { path: $path.to_owned(), text: include_str!(concat!("../starter/", $path)).to_owned() }
            };
        }
        Self {
            access: vec![file!("access/protection.cedar"), file!("access/shop.cedar")],
            shaping: vec![file!("shaping/limits.cedar")],
            signals: vec![file!("signals/service.sql")],
            entities: Some(file!("entities.json")),
            links: None,
            data: None,
            lists: Vec::new(),
            tests: vec![file!("tests/shop.yaml")],
            strays: Vec::new(),
        }
    }

    /// Writes every file below `dir`, making directories as needed and replacing files of the same name.
    ///
    /// # Errors
    /// The first file or directory that could not be written.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let folders = ["access", "shaping", "signals", "tests"].into_iter();
        let data = self.data.as_ref().map(|_| "data");
        for folder in folders.chain((!self.lists.is_empty()).then_some("lists")).chain(data) {
            fs::create_dir_all(dir.join(folder))?;
        }
        self.files().try_for_each(|file| fs::write(dir.join(&file.path), &file.text))
    }

    /// Writes the generated schema into the folders of policies below `dir`, where it is another one, and returns whether
    /// anything was written. Editors complete names from it; nothing else reads it.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn write_schema(dir: &Path, schema_json: &str) -> io::Result<bool> {
        let schema: serde_json::Value = serde_json::from_str(schema_json)?;
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        let mut is_written = false;
        for folder in ["access", "shaping"].map(|folder| dir.join(folder)).iter().filter(|folder| folder.is_dir()) {
            let file = folder.join(SCHEMA);
            if fs::read_to_string(&file).is_ok_and(|old| old == text) {
                continue;
            }
            // Whole or not at all, and under a name that nothing reads until it is.
            let temporary = folder.join(format!(".{SCHEMA}.tmp"));
            fs::write(&temporary, &text)?;
            fs::rename(&temporary, &file)?;
            is_written = true;
        }
        Ok(is_written)
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        let policies =
            self.access.iter().chain(&self.shaping).chain(&self.signals).chain(&self.entities).chain(&self.links);
        policies.chain(self.data.iter().flatten()).chain(&self.lists).chain(&self.tests)
    }
}

struct Reader {
    problems: Diagnostics,
    bytes_left: u64,
    strays: Vec<String>,
}

impl Reader {
    fn folder(&mut self, dir: &Path, folder: &str, suffix: &str) -> Vec<SourceFile> {
        if !dir.join(folder).is_dir() {
            return Vec::new();
        }
        let mut files = Vec::new();
        for name in self.list(&dir.join(folder), folder) {
            let path = format!("{folder}/{name}");
            if name == SCHEMA {
                continue;
            }
            if name.ends_with(suffix) {
                files.extend(self.file(dir, path));
            } else {
                self.strays.push(path);
            }
        }
        files
    }

    /// As [`Reader::folder`], where other files are passed over.
    fn named(&mut self, dir: &Path, folder: &str, suffix: &str) -> Vec<SourceFile> {
        if !dir.join(folder).is_dir() {
            return Vec::new();
        }
        let names = self.list(&dir.join(folder), folder).into_iter().filter(|name| name.ends_with(suffix));
        names.filter_map(|name| self.file(dir, format!("{folder}/{name}"))).collect()
    }

    /// Names in a directory, sorted.
    fn list(&mut self, dir: &Path, shown: &str) -> Vec<String> {
        let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match entries {
            Ok(entries) => {
                let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
                let mut names: Vec<_> = names.filter(|name| !is_temporary(name)).collect();
                names.sort();
                names
            }
            Err(error) => {
                let shown = if shown.is_empty() { dir.display().to_string() } else { shown.to_owned() };
                self.problems.0.push(Diagnostic::error(
                    "TG0001",
                    "",
                    format!("cannot read directory `{shown}`: {error}"),
                ));
                Vec::new()
            }
        }
    }

    fn file(&mut self, dir: &Path, path: String) -> Option<SourceFile> {
        // One byte more than allowed tells a file that is too large from one that just fits, whatever its metadata say.
        let mut bytes = Vec::new();
        let read =
            fs::File::open(dir.join(&path)).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        let problem = match read {
            Err(error) => Diagnostic::error("TG0001", &path, format!("cannot read: {error}")),
            Ok(read) if read as u64 > FILE_BYTES_MAX => {
                Diagnostic::error("TG0002", &path, "larger than 1 MiB").help("split it into several files")
            }
            Ok(read) => match (self.bytes_left.checked_sub(read as u64), String::from_utf8(bytes)) {
                (Some(left), Ok(text)) => {
                    self.bytes_left = left;
                    return Some(SourceFile { path, text });
                }
                (None, _) => Diagnostic::error("TG0002", &path, "all files together are larger than 64 MiB"),
                (_, Err(_)) => Diagnostic::error("TG0004", &path, "not UTF-8 text"),
            },
        };
        self.problems.0.push(problem);
        None
    }
}

/// Hidden files, among them those of Kubernetes' mounted volumes, and what editors leave while they save.
fn is_temporary(name: &str) -> bool {
    let suffixes = ["~", ".swp", ".swx", ".swo", ".tmp", ".bak", ".orig", "___jb_tmp___", "___jb_old___"];
    name.starts_with('.') || name.starts_with('#') || name == "4913" || suffixes.iter().any(|end| name.ends_with(end))
}
