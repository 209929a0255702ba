//! What goes wrong: crashes, replacements, changed limits, broken connections.

use super::{POLICIES, TTL_MS, Up, World, limit};

impl World {
    pub(super) fn trouble(&mut self) {
        if self.engine.is_none() && self.real_ms >= self.engine_starts_ms {
            let kept = self.kept.clone();
            self.start_engine(Some(kept));
        }
        for index in 0..self.runners.len() {
            if self.real_ms >= self.runners[index].dies_ms {
                self.kill(index);
            }
        }
        if !self.random.one_in(4) {
            return;
        }
        match self.random.below(11) {
            0 => self.crash_engine(),
            1 => self.change_limits(),
            2 | 3 => {
                if let Some(index) = self.alive() {
                    self.break_connection(index);
                }
            }
            4 => {
                if let Some(index) = self.alive() {
                    let name = self.runners[index].name;
                    self.kill(index);
                    self.spawn(name);
                }
            }
            5 => {
                // Two processes of one name: the first learns that it was replaced, or dies.
                if let Some(index) = self.alive() {
                    self.spawn(self.runners[index].name);
                }
            }
            6 => self.leave(),
            7 if self.runners.len() < 8 => {
                let name = self.runners.len();
                self.spawn(name);
            }
            8 => {
                if let Some(index) = self.alive() {
                    self.break_connection(index);
                    self.runners[index].services = self.some_services();
                }
            }
            _ => {
                if let Some(index) = self.alive() {
                    self.want(index);
                }
            }
        }
    }

    fn crash_engine(&mut self) {
        if self.engine.take().is_none() {
            return;
        }
        self.engine_starts_ms = self.real_ms + self.random.below(2 * TTL_MS);
        for connection in 0..self.connections.len() {
            self.connections[connection].is_over = true;
            self.connections[connection].up.clear();
            // What the engine had sent may still arrive before the reporter sees the end.
            if self.random.one_in(2) {
                self.connections[connection].down.clear();
            }
        }
    }

    fn change_limits(&mut self) {
        let ends_ms = self.real_ms;
        self.past.push_back((ends_ms, self.limits.clone()));
        let index = self.random.below(POLICIES.len() as u64) as usize;
        let policy = POLICIES[index].0;
        let at = self.limits.iter().position(|limit| &*limit.policy == policy);
        match at {
            Some(at) if self.random.one_in(3) => drop(self.limits.remove(at)),
            Some(at) => self.limits[at].rate = self.some_rate(),
            None => {
                let rate = self.some_rate();
                self.limits.push(limit(index, rate));
            }
        }
        self.policies += 1;
        let now_ms = self.engine_ms();
        if let Some(engine) = &mut self.engine {
            engine.set_limits(&self.limits, now_ms);
        }
    }

    pub(super) fn break_connection(&mut self, index: usize) {
        let Some(id) = self.runners[index].connection.take() else { return };
        let backoff = if self.random.one_in(3) { self.random.below(3 * TTL_MS) } else { self.random.below(100) };
        self.runners[index].connects_ms = self.real_ms + backoff;
        let at = self.arrival(id);
        let connection = &mut self.connections[id];
        connection.is_closed = true;
        connection.down.clear();
        connection.up.push_back((at, Up::Broken));
    }

    pub(super) fn kill(&mut self, index: usize) {
        self.break_connection(index);
        self.runners[index].is_alive = false;
        self.runners[index].dies_ms = u64::MAX;
    }

    fn leave(&mut self) {
        let Some(index) = self.alive() else { return };
        if let Some(id) = self.runners[index].connection.take() {
            let at = self.arrival(id);
            self.connections[id].is_closed = true;
            self.connections[id].down.clear();
            self.connections[id].up.push_back((at, Up::Leave));
        }
        self.runners[index].is_alive = false;
    }
}
