//! What is asked: hand-written questions about each function and operator, and Istio's own dashboards.

/// All of them.
pub(crate) fn all() -> Vec<String> {
    let own = QUESTIONS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    own.map(str::to_owned).chain(istio()).collect()
}

/// What Istio's mesh and service dashboards ask (Apache-2.0, github.com/istio/istio, `manifests/addons/dashboards`), with values for Grafana's
/// variables.
fn istio() -> Vec<String> {
    let variables = [
        ("$__rate_interval", "1m"),
        ("$qrep", "source|waypoint|destination"),
        ("$service", "cart.shop.svc.cluster.local"),
        ("$srcwl", "web|cart"),
        ("$srcns", ".*"),
        ("$dstwl", ".+"),
        ("$dstns", "shop"),
        ("$dstcluster", ".*"),
    ];
    let dashboards: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("istio-dashboards.json")).unwrap();
    let expressions = dashboards.values().flat_map(|list| list.as_array().unwrap());
    let fill = |expression: &serde_json::Value| {
        let text = expression.as_str().unwrap().to_owned();
        variables.iter().fold(text, |text, (name, value)| text.replace(name, value))
    };
    let filled: Vec<String> = expressions.map(fill).collect();
    let leftover = filled.iter().find(|text| text.contains('$'));
    assert!(leftover.is_none(), "a variable has no value: {leftover:?}");
    filled
}

/// Forms for `query_range`, good and bad.
pub(crate) const FORMS: [&str; 15] = [
    "query=temperature&start=1699956000&end=1699957000&step=60",
    "query=temperature&start=2023-11-14T10:00:00Z&end=2023-11-14T12:20:00.5%2B02:00&step=1m30s",
    "query=sum(temperature)&start=1699956000.123&end=1699957000.456&step=0.5",
    "query=temperature&start=1699956000&end=1699957000&step=0",
    "query=temperature&start=1699956000&end=1699957000&step=-1",
    "query=temperature&start=1699956000&end=1699957000&step=x",
    "query=temperature&start=1699957000&end=1699956000&step=60",
    "query=temperature&start=soon&end=1699957000&step=60",
    "query=sum(temperature)&start=1699956000&end=1699967000&step=1",
    "query=sum(temperature)&start=1699956000&end=1699967001&step=1",
    "query=temperature[5m]&start=1699956000&end=1699957000&step=60",
    "query=%22text%22&start=1699956000&end=1699957000&step=60",
    "query=1&start=1699956000&end=1699956120&step=60&timeout=30s",
    "query=sum(&start=1699956000&end=1699957000&step=60",
    "query=temperature&start=1699956000&end=1699957000&step=60&timeout=x",
];

const QUESTIONS: &str = r#"
# Numbers, texts, time.
1 + 2 * 3 ^ 2 % 7 - -1
1 / 0
-1 / 0
0 / 0
2 > bool 1
2 == bool NaN
"a text"
time()
time() - 1699956000
pi()
vector(1)
vector(time())
scalar(once)
scalar(temperature)
-temperature
minute(vector(time()))
hour()
day_of_week() + day_of_month() * 100 + day_of_year() * 10000
days_in_month(vector(1709164800))
month() + year()
# Selectors.
temperature
temperature{zone="a"}
temperature{zone!="a",number=~"1|2"}
temperature{zone!~"a|b"}
{__name__=~"temp.*|capacity",zone="a"}
temperature{missing=""}
once
once offset 1m
once offset -5m
temperature offset 7m
temperature @ 1699957000
temperature @ start()
sum(temperature @ end()) offset 1m
rate(istio_requests_total[1m] offset 3m)
rate(istio_requests_total[1m] @ 1699957000 offset 30s)
temperature[1m]
once[30m]
temperature[2m:30s]
absent(temperature)
absent(missing{zone="a",job=~"x"})
absent(missing{zone="a",zone="b"})
absent(sum(missing))
absent_over_time(once{job="batch"}[2m])
absent_over_time(missing{job="batch"}[2m])
timestamp(once)
timestamp(temperature)
timestamp(-temperature)
odd
# Counters.
rate(istio_requests_total[1m])
rate(istio_requests_total[45s])
rate(istio_requests_total[5m])
rate(once[30m])
increase(istio_requests_total{reporter="source"}[2m])
irate(istio_requests_total[1m])
irate(istio_requests_total[20s])
delta(temperature[3m])
idelta(temperature[3m])
deriv(temperature[3m])
deriv(istio_build[3m])
predict_linear(temperature[5m], 600)
changes(temperature[3m])
resets(istio_requests_total[10m])
rate({__name__=~"istio_requests_total|istio_tcp_sent_bytes_total"}[1m])
# Windows.
avg_over_time(temperature[3m])
min_over_time(temperature[3m])
max_over_time(temperature[3m])
sum_over_time(temperature[3m])
count_over_time(temperature[3m])
last_over_time(temperature[3m])
present_over_time(temperature[3m])
quantile_over_time(0.3, temperature[4m])
quantile_over_time(1.5, temperature[4m])
quantile_over_time(-1, temperature[4m])
stddev_over_time(temperature[3m])
stdvar_over_time(temperature[3m])
avg_over_time(odd[10m])
min_over_time(odd[10m])
max_over_time(odd[10m])
sum_over_time(odd{number!~"[12]"}[10m])
quantile_over_time(0.5, odd[10m])
max_over_time(rate(istio_requests_total[1m])[5m:30s])
avg_over_time(sum(temperature)[5m:])
sum_over_time(temperature[5m:17s] offset 1m)
max_over_time(temperature[2m:20s] @ 1699957000)
min_over_time((temperature > 0)[3m:10s])
# Aggregation.
sum(temperature)
sum by (zone) (temperature)
sum without (number) (temperature)
sum by () (temperature)
sum by (missing) (temperature)
avg by (zone) (temperature)
min by (zone) (temperature)
max without (zone, number) (temperature)
count by (zone) (temperature)
group by (zone) (temperature)
stddev(temperature)
stdvar by (number) (temperature)
topk(2, temperature)
topk by (zone) (1, temperature)
bottomk(3, temperature)
topk(0, temperature)
topk(-1, temperature)
topk(100, temperature)
topk(1e300, temperature)
bottomk(scalar(count(istio_build)), temperature)
topk(3, odd{number!~"[34]"})
bottomk(2, odd{number!~"[34]"})
quantile(0.5, temperature)
quantile by (zone) (0.9, temperature)
quantile(2, temperature)
quantile(NaN, temperature)
count_values("value", istio_build)
count_values by (zone) ("value", capacity)
sum by (__name__) ({zone="a"})
sum(odd)
avg(odd{number!~"[012]"})
avg(odd{number="1"})
max(odd)
min(odd)
count({__name__=~".+"})
sort(temperature)
sort_desc(temperature)
# Arithmetic and comparison.
temperature + 1
2 * temperature
temperature > 0
0 < temperature
temperature > bool 0
temperature >= 10 <= 50
temperature == temperature
temperature != bool temperature
temperature + temperature
temperature * on (zone) group_left capacity
capacity * on (zone) group_right temperature
temperature / ignoring (number, job) group_left capacity
temperature * on (zone) capacity
capacity * on (zone) temperature
capacity > on (zone) sum by (zone) (temperature)
capacity > bool on (zone) sum by (zone) (temperature)
capacity - on () group_left sum(temperature)
sum by (zone) (temperature) / count by (zone) (temperature)
temperature * on (zone) group_left (__name__) capacity
temperature{zone="a"} + on (number) group_left (zone) temperature{zone="b"}
temperature % 7
temperature ^ 2
# Prometheus 2.42 keeps the metric's name here, unlike later versions.
sum by (zone) (temperature) atan2 sum by (zone) (capacity)
odd * 2
odd / odd
odd > 0
odd == 1
# Sets.
temperature and temperature{zone="a"}
temperature and on (zone) capacity{zone="a"}
temperature unless on (zone) capacity{zone="a"}
temperature or capacity
temperature{zone="a"} or temperature
temperature or on (zone) capacity
temperature > 50 or vector(0)
sum(missing) or vector(0)
sum(missing) or on () vector(1)
once or on () vector(7)
vector(1) unless once
# Functions of values.
abs(temperature)
ceil(temperature) + floor(temperature)
round(temperature)
round(temperature, 0.1)
round(temperature, 5)
round(odd, 0.01)
clamp(temperature, -5, 20)
clamp(temperature, 20, -5)
clamp_min(temperature, 0)
clamp_max(odd, 1)
clamp_min(odd, 0)
sqrt(temperature)
ln(temperature)
exp(temperature / 10)
log2(capacity) + log10(capacity)
sgn(odd)
sin(temperature) + cos(temperature) + tan(temperature)
asin(temperature / 200) + acos(temperature / 200) + atan(temperature)
sinh(temperature / 50) + cosh(temperature / 50) + tanh(temperature)
asinh(temperature) + acosh(capacity) + atanh(temperature / 200)
deg(rad(temperature))
# Labels.
label_replace(temperature, "place", "$1-$2", "zone", "(.)(.*)")
label_replace(temperature, "place", "x${1}y", "zone", "(a|b)")
label_replace(temperature, "zone", "", "zone", ".*")
label_replace(temperature, "number", "", "number", ".*")
label_replace(temperature, "__name__", "renamed", "zone", ".*")
label_replace(temperature, "bad-name", "x", "zone", ".*")
label_replace(temperature, "new", "$name", "zone", "(?P<name>.)")
label_join(temperature, "both", "/", "zone", "number")
label_join(temperature, "both", "/")
label_join(temperature, "zone", "", "missing")
# Histograms.
histogram_quantile(0.9, istio_request_duration_milliseconds_bucket)
histogram_quantile(0.5, sum by (le) (rate(istio_request_bytes_bucket[2m])))
histogram_quantile(0, sum by (le) (rate(istio_request_bytes_bucket[2m])))
histogram_quantile(1, sum by (le) (rate(istio_request_bytes_bucket[2m])))
histogram_quantile(1.1, sum by (le) (istio_request_bytes_bucket))
histogram_quantile(-0.1, sum by (le) (istio_request_bytes_bucket))
histogram_quantile(NaN, sum by (le) (istio_request_bytes_bucket))
histogram_quantile(0.9, istio_request_bytes_bucket{le!="+Inf"})
histogram_quantile(0.9, istio_request_bytes_bucket{le="+Inf"})
histogram_quantile(0.9, temperature)
histogram_quantile(0.9, istio_request_bytes_bucket * 0)
histogram_quantile(0.99, label_replace(istio_request_bytes_bucket, "le", "x", "le", "50"))
histogram_quantile(0.9, label_replace(istio_request_bytes_bucket, "le", "-5", "le", "1"))
histogram_quantile(0.05, label_replace(istio_request_bytes_bucket, "le", "-5", "le", "1"))
histogram_quantile(0.9, -istio_request_bytes_bucket)
histogram_quantile(0.9, label_replace(label_replace(istio_request_bytes_bucket, "le", "10.0", "le", "5"), "n", "$1", "le", "(.*)"))
histogram_quantile(scalar(once) / 100, istio_request_bytes_bucket)
# What is refused.
foo(
rate(temperature)
sum(temperature[5m])
temperature + "a"
nosuchfunction(temperature)
{__name__=~".*"}
temperature offset 1m offset 2m
1 > 2
temperature{zone=~"("}
label_replace(temperature, "a", "b", "zone", "(")
rate({job="node"}[5m])
"#;
