//! A real Prometheus over given samples.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) struct Prometheus {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Prometheus {
    /// Writes the samples as blocks and serves them.
    pub(crate) fn start(open_metrics: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let (input, data) = (directory.join("samples.txt"), directory.join("data"));
        std::fs::write(&input, open_metrics).unwrap();
        std::fs::write(directory.join("prometheus.yml"), "global: {}\n").unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&input, &data])
            .output()
            .expect("promtool is missing: run `make setup`");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Prometheus takes no port 0, so a port that is free now may be taken in the next moment.
        for _ in 0..5 {
            let port = free_port();
            let mut process = spawn(&directory, port);
            if is_ready(&mut process, port) {
                return Self { process, port, directory };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("prometheus does not start: {}", std::fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    /// Asks one endpoint and gives the answer's JSON, whatever its status.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut form = String::new();
        for (name, value) in parameters {
            write!(form, "{name}={}&", escape(value)).unwrap();
        }
        self.ask_form(path, &form)
    }

    /// As [`Self::ask`], with an encoded form.
    pub(crate) fn ask_form(&self, path: &str, form: &str) -> Value {
        let body = post(self.port, path, form).unwrap();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(directory: &Path, port: u16) -> Child {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new("prometheus")
        .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--storage.tsdb.retention.time=100y")
        .arg("--log.level=error")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("prometheus is missing: run `make setup`")
}

fn is_ready(process: &mut Child, port: u16) -> bool {
    let end = Instant::now() + Duration::from_secs(15);
    while Instant::now() < end && process.try_wait().unwrap().is_none() {
        if post(port, "/api/v1/query", "query=1").is_ok_and(|body| body.contains("success")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn post(port: u16, path: &str, form: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // HTTP/1.0, so that the body comes in one piece and ends with the connection.
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte))
        } else {
            write!(escaped, "%{byte:02X}").unwrap()
        }
        escaped
    })
}
