from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("analytics", "0001_initial")]

    operations = [
        migrations.AddField(model_name="agentday", name="talk_s", field=models.PositiveIntegerField(default=0)),
        migrations.AddIndex(model_name="agentday", index=models.Index(fields=["day"], name="agent_day_by_day")),
    ]
