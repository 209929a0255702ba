//! Dashboards as Grafana reads them (schema version 39, Grafana 11).

use serde_json::{Value, json};

use super::{Board, Format, Kind, Language, Panel, Query, Variable, VariableKind};

impl Board {
    /// The dashboard, with links to the others.
    pub(crate) fn json(&self, all: &[Self]) -> Value {
        json!({
            "uid": self.uid,
            "title": format!("Tollgate / {}", self.title),
            "description": self.description,
            "tags": ["tollgate"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "annotations": { "list": [policy_changes()] },
            "links": all.iter().filter(|board| board.uid != self.uid).map(|board| json!({
                "type": "link",
                "title": board.title,
                "url": format!("/d/{}", board.uid),
                "keepTime": true,
                "includeVars": false,
                "icon": "dashboard",
                "tooltip": board.description,
            })).collect::<Vec<_>>(),
            "templating": { "list": self.all_variables().iter().map(Variable::json).collect::<Vec<_>>() },
            "panels": self.panels(),
        })
    }

    /// Those that it declares, after the data sources that its queries go to.
    fn all_variables(&self) -> Vec<Variable> {
        let uses = |language: Language| {
            self.sections
                .iter()
                .flat_map(|(_, panels)| panels)
                .flat_map(|panel| &panel.queries)
                .any(|query| query.language == language)
        };
        let source = |language: Language, label| Variable {
            name: language.variable(),
            label,
            kind: VariableKind::DataSource(language.plugin()),
        };
        // SQL always: annotations are SQL.
        let mut variables = vec![source(Language::Sql, "SQL")];
        if uses(Language::PromQl) {
            variables.push(source(Language::PromQl, "Traffic metrics"));
        }
        if uses(Language::EngineMetrics) {
            variables.push(source(Language::EngineMetrics, "Engine metrics"));
        }
        variables.extend(self.variables.iter().cloned());
        variables
    }

    /// Panels in reading order, laid out line by line.
    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
        let mut next_id = || {
            id += 1;
            id
        };
        for (title, members) in &self.sections {
            let grid = json!({ "x": 0, "y": y, "w": 24, "h": 1 });
            panels.push(json!({ "id": next_id(), "type": "row", "title": title, "collapsed": false, "gridPos": grid, "panels": [] }));
            y += 1;
            let (mut x, mut line) = (0, 0);
            for panel in members {
                if x + panel.width > 24 {
                    (x, y, line) = (0, y + line, 0);
                }
                panels.push(panel.json(next_id(), &json!({ "x": x, "y": y, "w": panel.width, "h": panel.height })));
                x += panel.width;
                line = line.max(panel.height);
            }
            y += line;
        }
        panels
    }
}

/// A line at every change of policies.
fn policy_changes() -> Value {
    json!({
        "name": "Policy changes",
        "enable": true,
        "iconColor": "purple",
        "datasource": data_source(Language::Sql),
        "target": {
            "refId": "Anno",
            "format": "table",
            "rawQuery": true,
            "editorMode": "code",
            "rawSql": POLICY_CHANGES,
        },
    })
}

/// The SQL of the annotation that every dashboard has.
pub(crate) const POLICY_CHANGES: &str = "SELECT min(time) AS time, concat('snapshot ', CAST(version AS VARCHAR), ': policies changed') AS text\n\
     FROM decisions WHERE $__timeFilter(time) AND cause = 'policies' GROUP BY version ORDER BY 1";

impl Variable {
    fn json(&self) -> Value {
        let mut variable = json!({ "name": self.name, "label": self.label, "hide": 0, "skipUrlSync": false });
        let (kind, rest) = match &self.kind {
            VariableKind::DataSource(plugin) => ("datasource", json!({ "query": plugin, "regex": "", "refresh": 1 })),
            VariableKind::Sql(text) => (
                "query",
                json!({
                    "query": text,
                    "definition": text,
                    "datasource": data_source(Language::Sql),
                    "refresh": 2,
                    "sort": 1,
                    "multi": false,
                    "includeAll": false,
                }),
            ),
            VariableKind::Choice(values) => {
                let option = |value: &&str| json!({ "text": value, "value": value, "selected": value == &values[0] });
                let options: Vec<Value> = values.iter().map(option).collect();
                ("custom", json!({ "query": values.join(","), "current": options[0], "options": options }))
            }
            VariableKind::Text(value) => {
                ("textbox", json!({ "query": value, "current": { "text": value, "value": value } }))
            }
        };
        variable["type"] = json!(kind);
        merge(&mut variable, rest);
        variable
    }
}

impl Panel {
    fn json(&self, id: u32, grid: &Value) -> Value {
        let source = self.queries.first().map_or(Language::Sql, |query| query.language);
        json!({
            "id": id,
            "type": self.plugin(),
            "title": self.title,
            "description": self.full_description(),
            "datasource": data_source(source),
            "gridPos": grid,
            "interval": if self.follows_resolution() { "$resolution" } else { "15s" },
            "maxDataPoints": 400,
            "targets": self.queries.iter().map(Query::json).collect::<Vec<_>>(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "options": self.options(),
        })
    }

    /// Whether its rows are those of a rollup that is chosen at the top, so that finer steps would show gaps.
    fn follows_resolution(&self) -> bool {
        self.queries.iter().any(|query| query.text.contains("${resolution}"))
    }

    const fn plugin(&self) -> &'static str {
        match self.kind {
            Kind::Stat => "stat",
            Kind::Lines | Kind::Stacked => "timeseries",
            Kind::Table => "table",
            Kind::Heatmap => "heatmap",
            Kind::NodeGraph => "nodeGraph",
            Kind::Bars => "bargauge",
        }
    }

    /// The description, and the queries behind the panel.
    fn full_description(&self) -> String {
        let query = |query: &Query| {
            let language = if query.language == Language::Sql { "sql" } else { "promql" };
            format!("\n\n```{language}\n{}\n```", query.text)
        };
        format!("{}{}", self.description, self.queries.iter().map(query).collect::<String>())
    }

    fn defaults(&self) -> Value {
        let mut defaults = json!({ "unit": self.unit, "color": { "mode": "palette-classic" } });
        if matches!(self.kind, Kind::Lines | Kind::Stacked) {
            let (mode, fill) = if self.kind == Kind::Stacked { ("normal", 40) } else { ("none", 8) };
            merge(
                &mut defaults,
                json!({
                    "min": 0,
                    "custom": {
                        "drawStyle": "line",
                        "lineWidth": 1,
                        "fillOpacity": fill,
                        "showPoints": "never",
                        "spanNulls": false,
                        "stacking": { "mode": mode, "group": "A" },
                    },
                }),
            );
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let mut overrides: Vec<Value> = Vec::new();
        let of_column = |column: &str, property: Value| json!({ "matcher": { "id": "byName", "options": column }, "properties": [property] });
        for (column, unit) in &self.units {
            overrides.push(of_column(column, json!({ "id": "unit", "value": unit })));
        }
        for (column, title, address) in &self.links {
            let opens_elsewhere = address.starts_with('$');
            let links = json!([{ "title": title, "url": address, "targetBlank": opens_elsewhere }]);
            overrides.push(of_column(column, json!({ "id": "links", "value": links })));
        }
        if matches!(self.kind, Kind::Lines | Kind::Stacked) {
            for (name, color) in COLORS {
                let fixed = json!({ "id": "color", "value": { "mode": "fixed", "fixedColor": color } });
                overrides.push(of_column(name, fixed));
            }
        }
        overrides
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "none",
                "graphMode": "none",
            }),
            Kind::Lines | Kind::Stacked => json!({
                "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["mean", "max"] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Table => json!({ "showHeader": true, "cellHeight": "sm", "footer": { "show": false } }),
            Kind::Heatmap => json!({
                "calculate": false,
                "yAxis": { "unit": self.unit },
                "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
                "cellGap": 1,
                "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true },
            }),
            Kind::NodeGraph => {
                json!({ "nodes": { "mainStatUnit": "reqps", "secondaryStatUnit": "µs", "arcs": ARCS.map(|(field, color)| json!({ "field": field, "color": color })) }, "edges": { "mainStatUnit": "reqps", "secondaryStatUnit": "percentunit" } })
            }
            Kind::Bars => json!({
                "reduceOptions": { "calcs": [], "fields": "", "values": true, "limit": 20 },
                "orientation": "horizontal",
                "displayMode": "basic",
            }),
        }
    }
}

/// One colour for one meaning, on every dashboard.
const COLORS: [(&str, &str); 9] = [
    ("allow", "green"),
    ("deny", "red"),
    ("limit", "orange"),
    ("shed", "purple"),
    ("2xx", "green"),
    ("3xx", "blue"),
    ("4xx", "yellow"),
    ("5xx", "red"),
    ("none", "dark-red"),
];

const ARCS: [(&str, &str); 4] =
    [("arc__success", "green"), ("arc__failed", "dark-red"), ("arc__denied", "red"), ("arc__limited", "orange")];

impl Query {
    fn json(&self) -> Value {
        let mut target = json!({ "refId": self.id, "datasource": data_source(self.language) });
        let rest = match (self.language, self.format) {
            (Language::Sql, format) => json!({
                "editorMode": "code",
                "rawQuery": true,
                "rawSql": self.text,
                "format": if format == Format::TimeSeries { "time_series" } else { "table" },
            }),
            (_, format) => json!({
                "editorMode": "code",
                "expr": self.text,
                "legendFormat": self.legend,
                "range": true,
                "exemplar": self.language == Language::PromQl,
                "format": if format == Format::Heatmap { "heatmap" } else { "time_series" },
            }),
        };
        merge(&mut target, rest);
        target
    }
}

fn data_source(language: Language) -> Value {
    json!({ "type": language.plugin(), "uid": format!("${{{}}}", language.variable()) })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
