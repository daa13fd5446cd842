import com.hazelcast.config.Config;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.jet.config.JobConfig;
import com.hazelcast.jet.config.ProcessingGuarantee;
import com.hazelcast.jet.kafka.KafkaSinks;
import com.hazelcast.jet.kafka.KafkaSources;
import com.hazelcast.jet.pipeline.Pipeline;
import com.hazelcast.jet.pipeline.ServiceFactories;
import com.hazelcast.jet.pipeline.StreamStage;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A Hazelcast Jet pipeline in Java, as its documentation has it: a Kafka source, look-ups, a model as a service, a
 * Kafka sink.
 *
 * <p>With --maps, features and dictionaries are looked up in Hazelcast's own maps, one stage each, as the fraud
 * detection demo that Hazelcast publishes does it; without, a service holds them, as the other peers do. With
 * --exactly-once, snapshots every 100 ms commit the sink's transactions.
 */
public final class FraudPipeline {
    private static final List<String> DICTIONARIES = List.of(
            "gender", "job", "age-group", "setting", "zip", "transaction_hour", "transaction_month",
            "transaction_weekday");
    private static final long SNAPSHOT_MS = 100;

    private FraudPipeline() {}

    /** Run until the process is ended. */
    public static void main(String[] arguments) throws Exception {
        List<String> flags = List.of(arguments);
        HazelcastInstance hazelcast = Hazelcast.newHazelcastInstance(config());
        Pipeline pipeline = Pipeline.create();
        StreamStage<Scoring> transactions = pipeline
                .readFrom(KafkaSources.<String, String, Scoring>kafka(
                        source(), row -> new Scoring(row.value()), System.getenv("PEER_INPUT")))
                .withoutTimestamps();
        boolean exactlyOnce = flags.contains("--exactly-once");
        String model = System.getenv("PEER_MODEL"), output = System.getenv("PEER_OUTPUT");
        Path data = Path.of(System.getenv("PEER_DATA"));
        StreamStage<Scoring> known =
                flags.contains("--maps") ? fromMaps(transactions, data, hazelcast) : fromMemory(transactions, data);
        known.mapUsingService(ServiceFactories.sharedService(context -> new Model(model)), Model::score)
                .writeTo(KafkaSinks.<Scoring>kafka(sink())
                        .topic(output)
                        .extractKeyFn(Scoring::number)
                        .extractValueFn(Scoring::answer)
                        .exactlyOnce(exactlyOnce)
                        .build());
        JobConfig job = new JobConfig()
                .setProcessingGuarantee(
                        exactlyOnce ? ProcessingGuarantee.EXACTLY_ONCE : ProcessingGuarantee.AT_LEAST_ONCE)
                .setSnapshotIntervalMillis(SNAPSHOT_MS);
        hazelcast.getJet().newJob(pipeline, job).join();
    }

    private static StreamStage<Scoring> fromMemory(StreamStage<Scoring> transactions, Path data) {
        String folder = data.toString(); // a Path cannot be sent to where the service is made
        return transactions.mapUsingService(
                ServiceFactories.sharedService(context -> new Features(Path.of(folder))),
                (features, scoring) -> {
                    scoring.with(features.merchants.get(scoring.merchantName()));
                    scoring.with(features.customers.get(scoring.card()));
                    DICTIONARIES.forEach(d -> scoring.with(d, features.code(d, scoring.category(d))));
                    return scoring;
                });
    }

    private static StreamStage<Scoring> fromMaps(
            StreamStage<Scoring> transactions, Path data, HazelcastInstance hazelcast) throws Exception {
        Features features = new Features(data);
        hazelcast.getMap("merchants").putAll(features.merchants);
        hazelcast.getMap("customers").putAll(features.customers);
        StreamStage<Scoring> stage = transactions
                .<String, Features.Merchant, Scoring>mapUsingIMap("merchants", Scoring::merchantName, Scoring::with)
                .<Long, Features.Customer, Scoring>mapUsingIMap("customers", Scoring::card, Scoring::with);
        for (String name : DICTIONARIES) {
            hazelcast.getMap(name).putAll(features.codes.get(name));
            stage = stage.<String, Integer, Scoring>mapUsingIMap(
                    name, scoring -> scoring.category(name), (scoring, code) -> scoring.with(name, code));
        }
        return stage;
    }

    private static Config config() {
        Config config = new Config();
        config.setClusterName(System.getenv("PEER_GROUP"));
        config.setProperty("hazelcast.phone.home.enabled", "false");
        config.getNetworkConfig().getInterfaces().setEnabled(true).addInterface("127.0.0.1");
        config.getNetworkConfig().getJoin().getAutoDetectionConfig().setEnabled(false);
        config.getJetConfig().setEnabled(true);
        return config;
    }

    private static Properties source() {
        Properties properties = new Properties();
        properties.setProperty("bootstrap.servers", System.getenv("PEER_BROKERS"));
        properties.setProperty("group.id", System.getenv("PEER_GROUP"));
        properties.setProperty("auto.offset.reset", "earliest");
        properties.setProperty("key.deserializer", StringDeserializer.class.getName());
        properties.setProperty("value.deserializer", StringDeserializer.class.getName());
        return properties;
    }

    private static Properties sink() {
        Properties properties = new Properties();
        properties.setProperty("bootstrap.servers", System.getenv("PEER_BROKERS"));
        properties.setProperty("key.serializer", StringSerializer.class.getName());
        properties.setProperty("value.serializer", StringSerializer.class.getName());
        return properties;
    }
}
